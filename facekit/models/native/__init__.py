"""Vision-language models of transformers in their own class: what facekit needs to know of them."""
