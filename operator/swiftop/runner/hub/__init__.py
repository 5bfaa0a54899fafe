"""Publishing a folder or a file to ModelScope or Hugging Face.

A program makes a ``request.Push`` and runs two tasks with it: ``hub.check`` before any work that costs something, and
``hub.push``. Both run in a process of their own, because they need the hub's client; PID 1 and the operator import
``request`` and ``causes`` alone.
"""
