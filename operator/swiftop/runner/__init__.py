"""The in-pod runner: PID 1 of every pod that swiftop makes.

It needs Python 3.9 and nothing but the standard library, because it runs in whatever image has ms-swift, and it is
shipped to the pod as one zip file (``bundle.py``). Inside that file the package is called ``swiftop_runner``, so its
modules import each other relatively and nothing else of swiftop. The operator imports ``protocol``, ``typed_json``, the
causes and ``bundle`` only.

A core runs any program (``program.py``): it is PID 1, supervises a child, redacts its output, serves the report and
tells the end. Each program has a folder.
"""
