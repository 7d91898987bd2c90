"""Face-LLaVA's region attention in a model of your own: timm's ViT, any causal language model, plain PyTorch.

    python examples/region_attention_in_your_model.py faces/records.jsonl --vit vit_base_patch16_clip_224.openai \
        --language-model Qwen/Qwen2.5-0.5B --pretrained --steps 2000 --batch-size 32

Nothing of facekit's models, processors or trainers is used: two modules of ``facekit.connectors``, one function of
``facekit.faces``, and your own loop. The command takes weights from the hub and wants a GPU. The projections of
``RegionGuidedCrossAttention`` are bare parameters, so adapters (LoRA) leave them alone: train them whole.
"""

import argparse
from functools import partial
from itertools import chain, islice, repeat

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from facekit.connectors import RegionGuidedCrossAttention, RegionLandmarkProjector, separate_absent_landmarks
from facekit.data import FaceRecord, RecordSet
from facekit.encoders import ImageTransform
from facekit.faces import open_image, region_centroids


class FaceAwareModel(nn.Module):
    """Pixels and landmarks to the loss of an answer."""

    def __init__(self, vit: nn.Module, language_model: nn.Module) -> None:
        super().__init__()
        width = language_model.config.hidden_size
        self.vit, self.language_model = vit, language_model
        self.project = nn.Linear(vit.embed_dim, width)
        self.landmark_projector = RegionLandmarkProjector(width)
        self.region_attention = RegionGuidedCrossAttention(width, num_heads=4)

    def see(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) and landmarks (B, 68, 2), NaN where absent, to tokens (B, P + N, D)."""
        known = separate_absent_landmarks(landmarks)
        return self.region_attention(
            self.project(self.vit.forward_features(pixels)),
            self.landmark_projector(known.landmarks),  # (B, 9, D), a token for each region of the face
            grid=self.vit.patch_embed.grid_size,
            region_positions=region_centroids(known.landmarks),
            num_prefix_tokens=self.vit.num_prefix_tokens,
            present=known.present,  # faces without landmarks pass through as they are
        )

    def forward(self, pixels: Tensor, landmarks: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
        """The loss of the labelled tokens."""
        seen, words = self.see(pixels, landmarks), self.language_model.get_input_embeddings()(ids)
        labels = torch.cat([labels.new_full(seen.shape[:2], -100), labels], dim=1)
        return self.language_model(inputs_embeds=torch.cat([seen, words], dim=1), labels=labels).loss


def collate(records: RecordSet, transform: ImageTransform, tokenizer, batch: list[FaceRecord]) -> tuple[Tensor, ...]:
    """Pixels, landmarks, and "Expression: ANSWER" with the answer labelled."""
    pixels = torch.stack([transform(open_image(each.media_paths(records.folder)[0])) for each in batch])
    landmarks = torch.tensor([each.landmarks or [[float("nan")] * 2] * 68 for each in batch])
    question = tokenizer("Expression: ", add_special_tokens=False)["input_ids"]
    answers = [tokenizer(each.labels.expression, add_special_tokens=False)["input_ids"] for each in batch]
    filler = [max(map(len, answers)) - len(each) for each in answers]
    ids = [[*question, *each, *[0] * rest] for each, rest in zip(answers, filler, strict=True)]
    labels = [[-100] * len(question) + each + [-100] * rest for each, rest in zip(answers, filler, strict=True)]
    return pixels, landmarks, torch.tensor(ids), torch.tensor(labels)


def main() -> None:
    """Train on the expressions of a records file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records")
    parser.add_argument("--vit", default="vit_tiny_patch16_224")
    parser.add_argument("--language-model", required=True, help="hub id or folder")
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)

    vit = timm.create_model(arguments.vit, pretrained=arguments.pretrained, num_classes=0)
    language_model = AutoModelForCausalLM.from_pretrained(arguments.language_model, dtype=torch.float32)
    model = FaceAwareModel(vit, language_model).to(device)
    config = vit.pretrained_cfg
    transform = ImageTransform(vit.patch_embed.img_size[0], mean=config["mean"], std=config["std"])
    records = RecordSet.read(arguments.records)
    assemble = partial(collate, records, transform, AutoTokenizer.from_pretrained(arguments.language_model))
    labelled = [each for each in records.records if each.labels.expression]
    loader = DataLoader(labelled, arguments.batch_size, shuffle=True, drop_last=True, collate_fn=assemble)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4 if arguments.pretrained else 1e-3)
    for step, batch in enumerate(islice(chain.from_iterable(repeat(loader)), arguments.steps), 1):
        loss = model(*(each.to(device) for each in batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in (1, arguments.steps) or step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)


if __name__ == "__main__":
    main()
