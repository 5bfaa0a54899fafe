"""The program ``serve``: a model behind an OpenAI-compatible endpoint.

Two processes, or three::

    program   PID 1: checks before loading, starts the tasks one after the other, judges how they end
      prompt    task: would the engine's own server give the prompts of the training? ``choice`` decides by it
      guard     task: binds the port (``listener``), takes the key, loads the model (``deploy`` or ``native``)
        serving   its loop: uvicorn (bounded by ``connections``) with ``app``, beside it ``watch``; drain and end
        (child)   with ``native`` alone: the engine's own server (``own_process``, ``own_servers``)

A request: ``app`` (key, names, readiness; ``http`` reads and writes) -> ``Backend.request`` makes the backend's words
of it (``requests``, ``turns``) -> ``Backend.ask`` -> a ``Taker`` of ``relay`` makes the client's answer of what comes
(``answers``). What fails becomes a ``Problem`` in OpenAI's form (``errors``).

``backend`` is the seam between the guard and what answers: ``InProcess`` is ms-swift's app, which ``deploy`` makes and
whose engine ``engines`` follows; ``native.Native`` asks the engine's own server through ``upstream``. Whatever stands
behind it, the rest is the same.

Two objects hold all state, and whoever needs it is given them:

- ``board``: requests in flight (``Call``) and counts. ``app``, ``question`` and the engines write it, ``metrics`` and
  ``watch`` read it.
- ``readiness``: which names answer, with what of the backend's, and whether anything has failed. ``prober``, ``gate``,
  ``changes``, ``watch`` and ``app`` write it; ``app`` refuses by it, and ``serving`` ends the process by it.

Adapters may come, change and go (``changes``), as a file has them (``declared``), with ``native`` alone.

The guard's own questions: ``watch`` lets ``prober`` ask every name at the start (``identity`` compares what they say),
and then ``gate``; later one token now and then. All ask by ``question``. ``watch`` also sees a dead or silent engine,
and tells PID 1 its state, members of ``report.SERVING``, once a second.
"""
