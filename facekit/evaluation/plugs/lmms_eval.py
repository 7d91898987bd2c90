"""A model for lmms-eval: ``python -m lmms_eval --model facekit --model_args pretrained=runs/demo --tasks …``.

Written for the interface of lmms-eval 0.7 (``lmms_eval.api.model.lmms``, the "simple" kind). The suite finds it by the
entry point of the installed package. Without the suite the class can be made and used, but not registered.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from facekit.errors import ConfigurationError
from facekit.evaluation.plugs.bridge import SuiteModel, SuiteQuestion

try:
    from lmms_eval.api.model import lmms
except ModuleNotFoundError as missing:
    if missing.name != "lmms_eval":
        raise
    lmms = object

logger = logging.getLogger(__name__)

DEFAULT_NEW_TOKENS = 128
GREEDY_NEW_TOKENS = 64


class FaceKitLmms(lmms):
    """Any model under test of facekit, as lmms-eval wants it; one process.

    Args:
        pretrained: A folder with a model of facekit, or a spec such as ``hf:ID``.
        batch_size: Pictures or questions at a time.
        device: Where the model is put.
        crop: Whether a model of facekit sees the largest face with its landmarks instead of the whole picture.
        **options: lmms-eval's own, of which only ``max_batch_size`` is known, and ignored.

    Raises:
        ConfigurationError: An option is unknown.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str | None = None,
        device: str | None = None,
        crop: bool | str = False,
        **options: Any,
    ) -> None:
        super().__init__()
        unknown = [name for name in options if name != "max_batch_size"]
        if unknown:
            raise ConfigurationError(f"facekit has no model argument '{unknown[0]}'; it has pretrained, crop, device")
        size = None if batch_size is None else int(batch_size)
        self.suite = SuiteModel(pretrained, batch_size=size, device=device, crop=str(crop).lower() == "true")
        self.task_dict: dict[str, Any] = {}

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer requests whose arguments are context, generation settings, visuals, document, task and split.

        Answers are greedy; ``max_new_tokens`` and ``until`` are kept to, sampling settings are not.
        """
        questions, stops = [], []
        for request in requests:
            context, settings, doc_to_visual, doc_id, task, split = request.args
            if settings.get("do_sample") or (settings.get("temperature") or 0) > 0:
                logger.warning("the task '%s' asks for sampling; answers are greedy all the same", task)
            limit = int(settings.get("max_new_tokens") or DEFAULT_NEW_TOKENS)
            questions.append(self._question(context, doc_to_visual, doc_id, task, split, limit))
            until = settings.get("until") or ()
            stops.append((until,) if isinstance(until, str) else tuple(until))
        answers = [_cut(answer, stop) for answer, stop in zip(self.suite.answer(questions), stops, strict=True)]
        for request, answer in zip(requests, answers, strict=True):
            self._remember("generate_until", request.args[:2], answer)
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Score continuations, those of one question together.

        The first number is the negative log-likelihood: lmms-eval takes the least one for the answer.

        Returns:
            Per request the pair of that number and whether the model's own greedy answer is the continuation.
        """
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        asked = []
        for index, request in enumerate(requests):
            if len(request.args) != 6:
                raise ConfigurationError("continuations without a picture (acc_mutual_info) cannot be scored")
            context, target, doc_to_visual, doc_id, task, split = request.args
            text = target if isinstance(target, str) else target(self.task_dict[task][split][doc_id])
            asked.append((context, str(text).strip(), doc_to_visual, doc_id, task, split))
            groups[context, doc_id, task, split].append(index)
        questions = []
        for indices in groups.values():
            context, _, doc_to_visual, doc_id, task, split = asked[indices[0]]
            options = tuple(dict.fromkeys(asked[index][1] for index in indices))
            questions.append(self._question(context, doc_to_visual, doc_id, task, split, GREEDY_NEW_TOKENS, options))
        scores, own = self.suite.score(questions), self.suite.answer(questions)
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for indices, scored, answer in zip(groups.values(), scores, own, strict=True):
            for index in indices:
                option = asked[index][1]
                found[index] = (-scored[option], answer.strip() == option)
                self._remember("loglikelihood", (asked[index][0], option), found[index])
        return [_whole(pair) for pair in found]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered; raises ``ConfigurationError``."""
        raise ConfigurationError("tasks of several rounds cannot be run with facekit; choose a generate_until task")

    def _question(
        self,
        context: str,
        doc_to_visual: Any,
        doc_id: int,
        task: str,
        split: str,
        limit: int,
        options: tuple[str, ...] = (),
    ) -> SuiteQuestion:
        visuals = tuple(doc_to_visual(self.task_dict[task][split][doc_id]) or ())
        text = context.replace("<image>", "").strip()
        return SuiteQuestion(text, visuals, (task, split, doc_id), limit, options)

    def _remember(self, kind: str, arguments: tuple[str | Mapping[str, Any], ...], answer: Any) -> None:
        hook = getattr(self, "cache_hook", None)
        if hook is not None:
            hook.add_partial(kind, arguments, answer)


def _cut(answer: str, stops: Sequence[str]) -> str:
    ends = [answer.find(stop) for stop in stops if stop and stop in answer]
    return answer[: min(ends)] if ends else answer


def _whole(pair: tuple[float, bool]) -> Any:
    """The pair, wrapped for releases of lmms-eval (0.7.3) that would turn a bare one into text."""
    try:
        from lmms_eval.api.instance import GenerationResult, unwrap_generation_output
    except ImportError:
        return pair
    return pair if unwrap_generation_output(pair)[0] == pair else GenerationResult(pair)
