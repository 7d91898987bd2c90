"""facekit's models inside vLLM: ``plugin`` is its entry point, and names what vLLM imports of the rest."""
