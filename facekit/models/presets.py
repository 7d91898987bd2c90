"""Presets: named sets of the same arguments that ``facekit.create`` takes.

They are plain data, so that a plugin can add its own; what ``facekit list presets`` shows of them is in the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass

from facekit.catalog import DEFAULT_LANDMARKER

OWN_CONNECTOR = "own"
"""In place of a connector's spec: the one that the checkpoint has."""


@dataclass(frozen=True)
class Preset:
    """A named choice of parts.

    Args:
        encoder: Spec of the vision encoder.
        connector: Spec of the connector.
        backbone: Spec of the language model.
        summary: One line on what it is for.
        landmarker: Spec of what finds the face and its landmarks; None for models of whole pictures.
        video_encoder: Spec of the encoder of clips, where it is another one.
        checkpoint: A folder or hub id that ``facekit.load`` reads, in which the encoder, the projector and the language
            model lie together; behind ``hf:`` it is opened in its own class. The model starts from it, and ``encoder``
            and ``backbone`` only say what it holds. A ``connector`` that the checkpoint does not have is new, but takes
            over the checkpoint's projector, or goes behind it; ``own`` is the checkpoint's.
    """

    encoder: str
    connector: str
    backbone: str
    summary: str
    landmarker: str | None = DEFAULT_LANDMARKER
    video_encoder: str | None = None
    checkpoint: str | None = None


def _internvl(size: str, language_model: str, summary: str, **changes: str | None) -> Preset:
    checkpoint = f"OpenGVLab/InternVL3-{size}-hf"
    values: dict[str, str | None] = {"connector": "pixel-shuffle", "landmarker": None, **changes}
    return Preset(
        encoder=f"hf:{checkpoint}",
        backbone=f"hf:{language_model}",
        summary=summary,
        checkpoint=checkpoint,
        **values,  # type: ignore[arg-type]
    )


def _native(checkpoint: str, summary: str, connector: str = OWN_CONNECTOR) -> Preset:
    """A base in its own class."""
    return Preset(f"hf:{checkpoint}", connector, f"hf:{checkpoint}", summary, checkpoint=f"hf:{checkpoint}")


FACEKIT_TINY = Preset(
    encoder="tiny?pretrained=synthetic-faces",
    connector="region",
    backbone="tiny?width=192&depth=3",
    summary="the demo's model: learns drawn faces on two CPU cores in minutes",
)
FACELLM_1B = _internvl("1B", "Qwen/Qwen2.5-0.5B", "what FaceLLM-1B is tuned from: InternVL3-1B")
FACELLM_8B = _internvl("8B", "Qwen/Qwen2.5-7B", "what FaceLLM-8B is tuned from: InternVL3-8B")
FACELLM_38B = _internvl("38B", "Qwen/Qwen2.5-32B", "what FaceLLM-38B is tuned from: InternVL3-38B")
FACELLM_1B_REGION = _internvl(
    "1B",
    "Qwen/Qwen2.5-0.5B",
    "InternVL3-1B with Face-LLaVA's region attention behind its projector",
    connector="region?projector=pixel-shuffle",
    landmarker=DEFAULT_LANDMARKER,
)
FACE_LLAVA_7B = Preset(
    encoder="languagebind:LanguageBind/LanguageBind_Image?class_token=false",
    video_encoder="languagebind:LanguageBind/LanguageBind_Video_merge",
    connector="region?keep_prefix_tokens=true",
    backbone="hf:lmsys/vicuna-7b-v1.5?chat_template=vicuna",
    summary="Face-LLaVA as in the paper, its connector untrained",
)
FACE_LLAVA_7B_RELEASED = Preset(
    encoder="languagebind:LanguageBind/LanguageBind_Image?class_token=false",
    video_encoder="languagebind:LanguageBind/LanguageBind_Video_merge",
    connector="region-released",
    backbone="hf:lmsys/vicuna-7b-v1.5?chat_template=vicuna",
    summary="Face-LLaVA with its published weights",
    checkpoint="chaubeyG/FaceLLaVA",
)
FACELLM_QWEN_2B = _native("Qwen/Qwen3-VL-2B-Instruct", "a face model on Qwen3-VL-2B")
FACELLM_QWEN_4B = _native("Qwen/Qwen3-VL-4B-Instruct", "a face model on Qwen3-VL-4B")
FACELLM_QWEN_8B = _native("Qwen/Qwen3-VL-8B-Instruct", "a face model on Qwen3-VL-8B")
FACELLM_QWEN_REGION = _native("Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL-4B with region attention", "region")
FACELLM_INTERNVL35_4B = _native("OpenGVLab/InternVL3_5-4B-HF", "a face model on InternVL3.5-4B")
FACELLM_INTERNVL35_REGION = _native(
    "OpenGVLab/InternVL3_5-4B-HF", "InternVL3.5-4B with region attention, tile by tile", "region"
)
FACELLM_GEMMA_4B = _native("google/gemma-3-4b-it", "a face model on Gemma 3 4B")
FACELLM_SMOLVLM_2B = _native("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "a face model on SmolVLM2-2.2B")
