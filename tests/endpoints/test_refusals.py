"""Refusals are told in the most spoken languages, and descriptions are not taken for them."""

import pytest

from facekit.endpoints.refusals import is_refusal

REFUSALS = {
    "en": ["I'm sorry, but I can't assist with that.", "I apologize, but I am not able to describe faces.",
           "Thank you for the picture. I'm sorry, but I cannot identify people.", "I won't speculate about their age."],
    "zh": ["抱歉，我无法识别图中的人物。", "对不起，我不能提供此类信息。", "我无法帮助您识别这个人。",
           "很抱歉，无法满足您的请求。"],
    "hi": ["माफ़ कीजिए, मैं इस अनुरोध में मदद नहीं कर सकता।", "मुझे खेद है, लेकिन मैं इस व्यक्ति की पहचान नहीं कर सकता।"],
    "es": ["Lo siento, no puedo ayudar con eso.", "No puedo identificar a la persona en la imagen."],
    "ar": ["عذراً، لا أستطيع المساعدة في هذا الطلب.", "آسف، لا يمكنني تحديد هوية الشخص في الصورة."],
    "fr": ["Je suis désolé, mais je ne peux pas identifier cette personne.",
           "Désolée, je ne suis pas en mesure de décrire cette image.", "Je ne peux pas vous aider à l'identifier."],
    "bn": ["আমি দুঃখিত, আমি এই অনুরোধে সাহায্য করতে পারি না।", "আমি এই ব্যক্তিকে চিহ্নিত করতে পারছি না।"],
    "pt": ["Desculpe, não posso ajudar com isso.", "Sinto muito, mas não consigo identificar pessoas em imagens."],
    "ru": ["Извините, я не могу помочь с этим запросом.", "Я не могу идентифицировать людей на фотографиях."],
    "id": ["Maaf, saya tidak dapat membantu permintaan tersebut.", "Saya tidak bisa mengidentifikasi orang di gambar."],
    "ur": ["معذرت، میں اس درخواست میں مدد نہیں کر سکتا۔"],
    "de": ["Es tut mir leid, aber ich kann diese Person nicht identifizieren.",
           "Das kann ich leider nicht beantworten."],
    "ja": ["申し訳ありませんが、その画像の人物を特定することはできません。"],
    "ko": ["죄송하지만 해당 이미지에 대해 도와드릴 수 없습니다."],
    "it": ["Mi dispiace, non posso aiutarti con questa richiesta."],
}  # fmt: skip
DESCRIPTIONS = [
    "The lips are closed and cannot be seen well.", "She looks sorry, as if she cannot help it.",
    "I see an oval face; I cannot see the ears because of the hair.", "El rostro es ovalado; no se puede ver la oreja.",
    "No se ve la oreja, el pelo la cubre.", "他的眼睛无法看清，因为戴着墨镜。", "这个人的表情看起来很抱歉。",
    "Le visage est ovale et ne montre pas de rides.", "Лицо овальное, уши не видны.",
    "Wajahnya oval dan tidak memakai kacamata.", "O rosto é oval e não apresenta rugas.",
    "顔は卵形で、耳は見えません。",
    "Das Gesicht ist nicht ganz im Bild, leider verdeckt die Hand den Mund.", "الوجه بيضاوي ولا توجد ابتسامة.",
    "चेहरा अंडाकार है और मुस्कान नहीं है।",
    "The person seems to apologise with the eyes. The mouth is not open.", "মুখটি ডিম্বাকৃতি এবং কোনো হাসি নেই।",
]  # fmt: skip


@pytest.mark.parametrize("text", [text for texts in REFUSALS.values() for text in texts])
def test_a_refusal_is_told_in_its_language(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_is_no_refusal(text):
    assert not is_refusal(text)


def test_a_long_answer_is_judged_by_its_beginning():
    description = "The face is oval and the brows are level. " * 12
    assert not is_refusal(f"{description}I cannot provide more.")
    assert is_refusal(f"I'm sorry, but I can't help. {description}")
