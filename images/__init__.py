"""The images of swiftop and the one way to build them: ``python -m images NAME`` or ``images.build.build(NAME)``."""
