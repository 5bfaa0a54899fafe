"""The program ``serve``: a model behind an OpenAI-compatible endpoint.

PID 1 (``program``) starts one process (``guard``), which runs ms-swift's own app in process and stands before it: port,
key, names, repairs of requests and answers, readiness, drain and metrics are the guard's.
"""
