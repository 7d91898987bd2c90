"""Answers in seven languages, and the label that a careful reader takes from each."""

from __future__ import annotations

import pytest

from facekit.answers.parsing import (
    parse_action_units,
    parse_age,
    parse_attributes,
    parse_expression,
    parse_manipulation,
    parse_presence,
)

EXPRESSIONS = [
    ("Die Person wirkt traurig.", "sadness"),
    ("Der Gesichtsausdruck ist nicht wütend, sondern überrascht.", "surprise"),
    ("Weder traurig noch wütend – das Gesicht ist neutral.", "neutral"),
    ("Antwort: **Freude**", "happiness"),
    ("Das lässt sich anhand des Bildes nicht eindeutig bestimmen.", None),
    ("Ekel: 0,7; Wut: 0,2", "disgust"),
    ("La expresión facial es de tristeza.", "sadness"),
    ("No parece enfadado, sino asustado.", "fear"),
    ("Respuesta final: alegría", "happiness"),
    ("Lo siento, no puedo determinar la emoción de esta persona.", None),
    ("La mujer sonríe ampliamente; está feliz.", "happiness"),
    ("L'expression est celle de la peur.", "fear"),
    ("Elle n'est pas triste mais en colère.", "anger"),
    ("Le visage ne montre aucune émotion particulière.", "neutral"),
    ("Je ne peux pas déterminer l'émotion.", None),
    ("A expressão é de nojo.", "disgust"),
    ("Não está triste, mas sim surpreso.", "surprise"),
    ("Resposta: felicidade", "happiness"),
    ("Não consigo identificar a emoção.", None),
    ("这个人的表情是愤怒。", "anger"),
    ("不是悲伤,而是惊讶。", "surprise"),
    ("答案:中性", "neutral"),
    ("无法判断该人物的表情。", None),
    ("他看起来很高兴,面带微笑。", "happiness"),
    ("この人物の表情は悲しみです。", "sadness"),
    ("怒りではなく、恐怖の表情です。", "fear"),
    ("回答:嫌悪", "disgust"),
    ("表情を判断することはできません。", None),
    ("笑顔で、とても嬉しそうに見えます。", "happiness"),
]
AGES = [
    ("Die Person ist etwa 35 Jahre alt.", 35),
    ("Eine fünfunddreißigjährige Frau.", 35),
    ("zwischen 30 und 40 Jahren", 35),
    ("Mitte dreißig", 35),
    ("Ich schätze sie auf Ende zwanzig.", 28),
    ("Er ist in seinen Vierzigern.", 45),
    ("Aparenta unos 42 años.", 42),
    ("treinta y cinco años", 35),
    ("entre 20 y 30 años", 25),
    ("a principios de los treinta", 32),
    ("La persona tiene aproximadamente veinticuatro años.", 24),
    ("Environ 50 ans.", 50),
    ("Elle a la trentaine.", 35),
    ("quatre-vingt-deux ans", 82),
    ("entre 25 et 35 ans", 30),
    ("soixante-quinze ans", 75),
    ("A pessoa parece ter cerca de 60 anos.", 60),
    ("trinta e cinco anos", 35),
    ("Entre 40 e 50 anos de idade.", 45),
    ("no final dos 20 anos", 28),
    ("大约35岁", 35),
    ("三十五岁左右", 35),
    ("30到40岁之间", 35),
    ("四十多岁", 45),
    ("约35歳です。", 35),
    ("30代前半", 32),
    ("20代後半と思われます。", 28),
    ("40歳から50歳の間", 45),
    ("無法判斷年齡。", None),
    ("Das Alter lässt sich nicht bestimmen.", None),
]
VERDICTS = [
    ("Das Bild ist gefälscht.", True),
    ("Das Foto ist echt und nicht manipuliert.", False),
    ("Es gibt keine Anzeichen für eine Manipulation.", False),
    ("Die Wahrscheinlichkeit einer Fälschung liegt bei 85 %.", True),
    ("La imagen ha sido manipulada.", True),
    ("No hay signos de manipulación.", False),
    ("La imagen parece real.", False),
    ("La probabilidad de que sea falsa es del 20 %.", False),
    ("L'image est truquée.", True),
    ("Aucun signe de manipulation n'est visible : l'image est authentique.", False),
    ("La probabilité que l'image soit fausse est de 90 %.", True),
    ("A imagem é autêntica.", False),
    ("Não há sinais de manipulação.", False),
    ("A foto foi adulterada.", True),
    ("这张图片是伪造的。", True),
    ("没有发现篡改痕迹,图像是真实的。", False),
    ("伪造的概率为80%", True),
    ("无法判断真假。", None),
    ("この画像は加工されています。", True),
    ("加工された形跡は見られません。本物です。", False),
    ("本物ではなく、偽物です。", True),
]
UNITS = [
    ("Aktive Aktionseinheiten: AU6, AU12", {"AU6", "AU12"}),
    ("AU4 ist nicht aktiv, AU6 ist aktiv.", {"AU6"}),
    ("Unidades de acción activas: AU1, AU2 y AU5", {"AU1", "AU2", "AU5"}),
    ("AU12 présente, AU4 absente.", {"AU12"}),
    ("As unidades de ação ativas são AU4 e AU15.", {"AU4", "AU15"}),
    ("激活的动作单元:AU6、AU12和AU25", {"AU6", "AU12", "AU25"}),
    ("AU6とAU12が活性化しています。", {"AU6", "AU12"}),
    ("Keine Aktionseinheiten sind aktiv.", set()),
]
ATTRIBUTES = [
    ("Die Frau hat blonde Haare und trägt eine Brille.", {"Blond_Hair", "Eyeglasses"}),
    ("Er trägt keine Brille, hat aber einen Schnurrbart.", {"Mustache"}),
    ("La mujer lleva pendientes y no lleva gafas.", {"Wearing_Earrings"}),
    ("El hombre tiene el pelo negro y sonríe.", {"Male", "Black_Hair", "Smiling"}),
    ("La femme porte un chapeau, sans lunettes.", {"Wearing_Hat"}),
    ("A mulher usa óculos e brincos.", {"Eyeglasses", "Wearing_Earrings"}),
    ("他戴着眼镜,没有胡子。", {"Eyeglasses", "No_Beard"}),
    ("女性で、眼鏡をかけていません。前髪があります。", {"Bangs"}),
]
PRESENCES = [
    ("Ja, die Person trägt eine Brille.", "Eyeglasses", True),
    ("Nein.", "Eyeglasses", False),
    ("Die Person trägt keinen Hut.", "Wearing_Hat", False),
    ("Sí, está sonriendo.", "Smiling", True),
    ("No, no lleva corbata.", "Wearing_Necktie", False),
    ("Oui, elle est jeune.", "Young", True),
    ("Non, il ne sourit pas.", "Smiling", False),
    ("Não, a pessoa não usa chapéu.", "Wearing_Hat", False),
    ("Sim.", "Young", True),
    ("是的,她戴着耳环。", "Wearing_Earrings", True),
    ("没有戴帽子。", "Wearing_Hat", False),
    ("はい、眼鏡をかけています。", "Eyeglasses", True),
    ("いいえ、帽子はかぶっていません。", "Wearing_Hat", False),
]


@pytest.mark.parametrize(("answer", "label"), EXPRESSIONS)
def test_expressions_are_read_in_seven_languages(answer, label):
    assert parse_expression(answer) == label


@pytest.mark.parametrize(("answer", "years"), AGES)
def test_ages_are_read_in_seven_languages(answer, years):
    assert parse_age(answer) == years


@pytest.mark.parametrize(("answer", "manipulated"), VERDICTS)
def test_verdicts_are_read_in_seven_languages(answer, manipulated):
    assert parse_manipulation(answer) is manipulated


@pytest.mark.parametrize(("answer", "codes"), UNITS)
def test_action_units_are_read_in_seven_languages(answer, codes):
    assert parse_action_units(answer) == codes


@pytest.mark.parametrize(("answer", "names"), ATTRIBUTES)
def test_attributes_are_read_in_seven_languages(answer, names):
    assert parse_attributes(answer) == names


@pytest.mark.parametrize(("answer", "name", "present"), PRESENCES)
def test_one_attribute_is_read_in_seven_languages(answer, name, present):
    assert parse_presence(answer, name) is present
