"""Sessions: pictures and clips encoded once, and questions about them answered or options scored.

``Session`` is the way in. Servers and evaluation put requests of several sessions together: ``generate_batch`` answers
them in one batch, ``answer_together`` does so too and reads once what is common, ``iterate_answers`` plans any number
of batches by itself, and ``answer_subjects`` goes through any number of pictures with their questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.models.sessions.encoding import EncodedMedia, MediumTensors, encode_media
    from facekit.models.sessions.generation import generate_batch
    from facekit.models.sessions.likelihood import option_log_likelihoods, option_tokens, question_log_likelihoods
    from facekit.models.sessions.planning import iterate_answers
    from facekit.models.sessions.prompts import check_questions, write_prompt
    from facekit.models.sessions.requests import AnswerEnd, Request, Sampling, TokenConstraint, TokenScore
    from facekit.models.sessions.session import Session
    from facekit.models.sessions.subjects import (
        AnsweringEngine,
        AskedPrompt,
        Fault,
        Subject,
        answer_subjects,
        open_subjects,
    )
    from facekit.models.sessions.together import answer_together

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "encoding": ["EncodedMedia", "MediumTensors", "encode_media"],
        "generation": ["generate_batch"],
        "likelihood": ["option_log_likelihoods", "option_tokens", "question_log_likelihoods"],
        "planning": ["iterate_answers"],
        "prompts": ["check_questions", "write_prompt"],
        "requests": ["AnswerEnd", "Request", "Sampling", "TokenConstraint", "TokenScore"],
        "session": ["Session"],
        "subjects": ["AnsweringEngine", "AskedPrompt", "Fault", "Subject", "answer_subjects", "open_subjects"],
        "together": ["answer_together"],
    },
)
