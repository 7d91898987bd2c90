"""The words by which answers name labels: synonyms of expressions, action units, attributes and verdicts.

Tables only, apart from the parsers, so that a reader can see at a glance which words count and add one in one place.
Entries are regular expressions that match whole words of lower-case text; a space in an entry matches any run of
spaces or hyphens.
"""

from __future__ import annotations

EXPRESSION_NAMES: dict[str, tuple[str, ...]] = {
    "neutral": (
        "neutral", "neutrality", "expressionless", "emotionless", "impassive", "deadpan",
        "no (?:particular |strong |clear |visible |discernible |obvious |specific )?(?:expression|emotion)s?",
        "(?:without|lacks?|lacking) (?:an |any )?(?:particular |strong |clear |visible )?(?:expression|emotion)s?",
    ),
    "happiness": (
        "happy", "happiness", "happily", "happier", "joy", "joyful", "joyous", "joyfully", "cheerful", "cheerfulness",
        "delight(?:ed)?", "glad", "elated", "elation", "gleeful", "merry", "amused", "amusement",
    ),
    "sadness": (
        "sad", "sadness", "sadly", "unhappy", "unhappiness", "sorrow", "sorrowful", "melancholy", "melancholic",
        "depressed", "dejected", "miserable", "grief", "grieving", "gloomy", "mournful", "despair", "despondent",
    ),
    "surprise": (
        "surprised?", "surprising", "astonish(?:ed|ment)", "amaze(?:d|ment)", "startled?", "stunned", "astounded",
    ),
    "fear": (
        "fear", "fearful", "fearfulness", "afraid", "scared", "frightened", "fright", "terrified", "terror",
        "horrified", "panic", "panicked", "dread", "apprehensive",
    ),
    "disgust": (
        "disgust", "disgusted", "revulsion", "revolted", "repulsed", "repulsion", "repelled", "distaste", "aversion",
        "nauseated",
    ),
    "anger": (
        "anger", "angry", "angered", "angrily", "furious", "fury", "mad", "enraged", "rage", "irate", "irritated",
        "irritation", "annoyed", "annoyance", "outraged", "wrathful",
    ),
}  # fmt: skip
"""Words that name an expression outright."""

EXPRESSION_SIGNS: dict[str, tuple[str, ...]] = {
    "neutral": ("calm", "relaxed", "blank", "composed", "at ease", "indifferent", "serene", "flat", "unmoved"),
    "happiness": ("smile", "smiles", "smiling", "smiled", "grin", "grins", "grinning", "laugh(?:s|ing|ed)?", "beaming",
                  "pleased", "content", "positive", "enjoying"),
    "sadness": ("crying", "cries", "tearful", "weeping", "downcast", "pout(?:ing)?", "upset", "hurt"),
    "surprise": ("shock", "shocked", "gasp(?:s|ing)?", "disbelief", "wonder"),
    "fear": ("anxious", "anxiety", "nervous", "worried", "alarmed"),
    "disgust": ("grossed out", "contempt", "sickened"),
    "anger": ("hostile", "hostility", "scowl(?:s|ing)?", "glaring", "glare", "frustrated", "frustration"),
}  # fmt: skip
"""Words that only hint at an expression; they count where no word of ``EXPRESSION_NAMES`` does."""

UNIT_NAMES: dict[str, tuple[str, ...]] = {
    "AU1": ("inner (?:eye)?brows? (?:raisers?|raised?|raising|lifted|up)",
            "(?:raised|lifted|raising|raises) (?:the )?inner (?:eye)?brows?"),
    "AU2": ("outer (?:eye)?brows? (?:raisers?|raised?|raising|lifted|up)",
            "(?:raised|lifted|raising|raises) (?:the )?outer (?:eye)?brows?"),
    "AU4": ("(?:eye)?brows? (?:lowerers?|lowered|lowering|furrowed|knitted|drawn together)",
            "(?:lowered|furrowed|knitted|lowering|furrowing) (?:the )?(?:eye)?brows?"),
    "AU5": ("upper (?:eye)?lids? (?:raisers?|raised?|raising|lifted)",
            "(?:raised|lifted|raising) (?:the )?upper (?:eye)?lids?", "(?:widened|wide) eyes", "eyes widened"),
    "AU6": ("cheeks? (?:raisers?|raised?|raising|lifted)", "(?:raised|lifted|raising) (?:the )?cheeks?"),
    "AU7": ("(?:eye)?lids? tighteners?", "tightened (?:eye)?lids?"),
    "AU9": ("nose (?:wrinklers?|wrinkled?|wrinkling|scrunched)", "(?:wrinkled|wrinkling|scrunched) (?:the )?nose"),
    "AU10": ("upper lip raisers?", "raised upper lip"),
    "AU12": ("lip corners? (?:pullers?|pulled(?: up)?|pulling|raised|up)",
             "(?:pulled|raised|pulling) (?:up )?lip corners?"),
    "AU14": ("dimplers?",),
    "AU15": ("lip corners? (?:depressors?|depressed|pulled down|lowered|turned down|down)",
             "(?:depressed|lowered|downturned) lip corners?"),
    "AU17": ("chin (?:raisers?|raised?|raising|lifted)", "(?:raised|lifted|raising) (?:the )?chin"),
    "AU20": ("lips? (?:stretchers?|stretched|stretching)", "(?:stretched|stretching) (?:the )?lips?"),
    "AU23": ("lips? tighteners?", "tightened lips?"),
    "AU24": ("lips? press(?:ors?|ed)", "pressed lips?"),
    "AU25": ("lips? (?:parts?|parted|parting|apart)", "(?:parted|parting) (?:the )?lips?"),
    "AU26": ("jaw (?:drops?|dropped|dropping|lowered|open)", "(?:dropped|lowered|open) jaw"),
}  # fmt: skip
"""Names of action units in the Facial Action Coding System and the everyday forms of them."""

ATTRIBUTE_WORDS: dict[str, tuple[str, ...]] = {
    "Eyeglasses": ("(?:eye ?)?glasses", "spectacles", "bespectacled"),
    "Wearing_Hat": ("hats?", "caps?", "beanie", "headwear"),
    "Black_Hair": ("black haired", "(?:black|jet black) hair", "hair (?:is|looks|colou?r is|appears) (?:jet )?black"),
    "Brown_Hair": ("brown haired", "(?:brown|brunette|chestnut) hair", "brunette",
                   "hair (?:is|looks|colou?r is|appears) (?:dark |light )?brown"),
    "Blond_Hair": ("blonde? haired", "(?:blonde?|golden) hair", "blonde?", "hair (?:is|looks|colou?r is|appears) "
                   "(?:dark |light )?blonde?"),
    "Gray_Hair": ("gr[ae]y haired", "(?:gr[ae]y|graying|greying|white|silver) hair",
                  "hair (?:is|looks|colou?r is|appears) (?:gr[ae]y|white|silver)"),
    "Bangs": ("bangs", "fringe"),
    "Mustache": ("mo?ustaches?", "mo?ustached"),
    "Wearing_Lipstick": ("lipstick", "painted lips"),
    "Heavy_Makeup": ("(?:heavy |much |strong |thick |noticeable )?make ?up", "heavily made up"),
    "Wearing_Earrings": ("ear ?rings?", "ear studs"),
    "Wearing_Necklace": ("necklace",),
    "Wearing_Necktie": ("neck ?tie",),
    "Smiling": ("smiling", "smile"),
    "Bald": ("bald", "hairless"),
    "Goatee": ("goatee",),
    "Sideburns": ("sideburns",),
    "Double_Chin": ("double chin",),
    "Wavy_Hair": ("wavy hair", "hair is wavy"),
    "Straight_Hair": ("straight hair", "hair is straight"),
    "Male": ("male", "man"),
    "Young": ("young",),
}  # fmt: skip
"""CelebA name to its words. ``No_Beard`` is read by its own rule, because saying "no beard" affirms it."""

BEARD_WORDS: tuple[str, ...] = ("beards?", "bearded", "facial hair")
BEARDLESS_WORDS: tuple[str, ...] = ("beardless", "(?:clean|smooth(?:ly)?) shaven", "clean shave")

MANIPULATION_WORDS: dict[str, tuple[str, ...]] = {
    "manipulated": (
        "manipulated", "manipulations?", "fake[ds]?", "forged", "forgery", "forging", "falsified", "deep ?fakes?",
        "edited", "edits?", "editing", "altered", "alterations?", "tampered", "tampering", "tamper", "swapped",
        "face swap", "swaps?", "doctored", "spliced", "splicing", "photoshopped", "retouched", "inauthentic",
        "unauthentic", "unreal", "artificial", "modified", "modifications?", "blended", "artefacts?", "artifacts?",
        "synthesi[sz]ed",
    ),
    "genuine": (
        "genuine", "genuinely", "real", "authentic", "original", "unaltered", "unmodified", "unedited", "untouched",
        "unmanipulated", "untampered", "unretouched", "bona fide", "pristine", "natural", "authenticity",
    ),
}  # fmt: skip

NUMBER_WORDS: dict[str, int] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
DECADE_WORDS: dict[str, int] = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
