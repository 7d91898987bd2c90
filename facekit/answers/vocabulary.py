"""Vocabulary of the answer parsers: synonyms of expressions, action units, attributes and verdicts.

Tables only, apart from the parsers, so that a reader can see at a glance which words count and add one in one place.
Entries are regular expressions that match whole words of lower-case text; a space in an entry matches any run of
spaces or hyphens.
"""

from __future__ import annotations

EXPRESSION_NAMES: dict[str, tuple[str, ...]] = {
    "neutral": (
        "neutral", "neutrality", "expressionless", "emotionless", "impassive", "deadpan",
        "no (?:particular |strong |clear |visible |discernible |obvious |specific )?(?:expression|emotion)s?",
        "(?:do|does|did|is)(?: not|n't) (?:\\w+ ){0,4}?any (?:\\w+ )?(?:expression|emotion)s?",
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
    "contempt": ("contempt", "contemptuous", "contemptuously", "disdain", "disdainful", "scorn", "scornful"),
    "anxiety": ("anxiety", "anxious", "anxiously", "nervous", "nervousness", "worried", "worry"),
    "helplessness": ("helpless", "helplessness", "powerless", "powerlessness"),
    "disappointment": ("disappointed", "disappointment", "disappointing", "let down"),
}  # fmt: skip
"""Words that name an expression outright."""

EXPRESSION_SIGNS: dict[str, tuple[str, ...]] = {
    "neutral": ("calm", "relaxed", "blank", "composed", "at ease", "indifferent", "serene", "flat", "unmoved"),
    "happiness": ("smile", "smiles", "smiling", "smiled", "grin", "grins", "grinning", "laugh(?:s|ing|ed)?", "beaming",
                  "pleased", "content", "positive", "enjoying"),
    "sadness": ("crying", "cries", "tearful", "weeping", "disappointed", "disappointment",
                "downcast", "pout(?:ing)?", "upset", "hurt",
                "feel(?:s|ing)? (?:down|blue|low)"),
    "surprise": ("shock", "shocked", "gasp(?:s|ing)?", "disbelief", "wonder",
                 "taken aback"),
    "fear": ("anxious", "anxiety", "nervous", "worried", "alarmed"),
    "disgust": ("grossed out", "contempt", "sickened"),
    "anger": ("hostile", "hostility", "scowl(?:s|ing)?", "glaring", "glare", "frustrated", "frustration"),
}  # fmt: skip
"""Words that only hint at an expression; they count where no word of ``EXPRESSION_NAMES`` does."""

_BE = "(?:is |are |has |have )?"

UNIT_NAMES: dict[str, tuple[str, ...]] = {
    "AU1": (f"inner (?:eye)?brows? (?:raisers?|{_BE}(?:raised?|raising|lifted|up))",
            "(?:raised|lifted|raising|raises) (?:the )?inner (?:eye)?brows?"),
    "AU2": (f"outer (?:eye)?brows? (?:raisers?|{_BE}(?:raised?|raising|lifted|up))",
            "(?:raised|lifted|raising|raises) (?:the )?outer (?:eye)?brows?"),
    "AU4": (f"(?:eye)?brows? (?:lowerers?|{_BE}(?:lowered|lowering|furrowed|knitted|drawn together))",
            "(?:lowered|furrowed|knitted|lowering|furrowing) (?:the )?(?:eye)?brows?"),
    "AU5": (f"upper (?:eye)?lids? (?:raisers?|{_BE}(?:raised?|raising|lifted))",
            "(?:raised|lifted|raising) (?:the )?upper (?:eye)?lids?", "(?:widened|wide) eyes", f"eyes {_BE}widened"),
    "AU6": (f"cheeks? (?:raisers?|{_BE}(?:raised?|raising|lifted))", "(?:raised|lifted|raising) (?:the )?cheeks?"),
    "AU7": ("(?:eye)?lids? tighteners?", "tightened (?:eye)?lids?"),
    "AU9": (f"nose (?:wrinklers?|{_BE}(?:wrinkled?|wrinkling|scrunched))",
            "(?:wrinkled|wrinkling|scrunched) (?:the )?nose"),
    "AU10": (f"upper lip (?:raisers?|{_BE}raised)", "raised upper lip"),
    "AU12": (f"lip corners? (?:pull(?:ers?)?|{_BE}(?:pulled(?: up)?|pulling|raised|up))",
             "(?:pulled|raised|pulling) (?:up )?lip corners?"),
    "AU14": ("dimplers?",),
    "AU15": (f"lip corners? (?:depressors?|{_BE}(?:depressed|pulled down|lowered|turned down|down))",
             "(?:depressed|lowered|downturned) lip corners?"),
    "AU17": (f"chin (?:raisers?|{_BE}(?:raised?|raising|lifted))", "(?:raised|lifted|raising) (?:the )?chin"),
    "AU20": (f"lips? (?:stretchers?|{_BE}(?:stretched|stretching))", "(?:stretched|stretching) (?:the )?lips?"),
    "AU23": ("lips? tighteners?", "tightened lips?"),
    "AU24": (f"lips? (?:press(?:ors?)?|{_BE}pressed(?: together)?)", "pressed lips?"),
    "AU25": (f"lips? (?:parts?|{_BE}(?:parted|parting|apart))", "(?:parted|parting) (?:the )?lips?"),
    "AU26": (f"jaw (?:drops?|{_BE}(?:dropped|dropping|lowered|open))", "(?:dropped|lowered|open) jaw"),
}  # fmt: skip
"""Names of action units in the Facial Action Coding System and the everyday forms of them."""

ATTRIBUTE_WORDS: dict[str, tuple[str, ...]] = {
    "5_o_Clock_Shadow": ("(?:5|five) o'? ?clock shadow", "stubble", "stubbl(?:y|ed)", "unshaven"),
    "Arched_Eyebrows": ("(?:arched|curved) (?:eye)?brows", "(?:eye)?brows are arched"),
    "Attractive": ("attractive", "beautiful", "handsome", "good looking", "pretty"),
    "Bags_Under_Eyes": ("bags under (?:the |her |his |their )?eyes", "(?:under )?eye bags", "baggy eyes"),
    "Bald": ("bald", "baldness", "hairless"),
    "Bangs": ("bangs", "fringe"),
    "Big_Lips": ("(?:big|full|large|thick|plump) lips", "lips are (?:big|full|large|thick|plump)"),
    "Big_Nose": ("(?:big|large|broad|wide) nose", "nose is (?:big|large|broad|wide)"),
    "Black_Hair": ("black haired", "black hair"),
    "Blond_Hair": ("(?:blonde?|fair) haired", "(?:blonde?|golden|fair) hair", "blonde?"),
    "Blurry": ("blurry", "blurred", "out of focus"),
    "Brown_Hair": ("brown haired", "(?:brown|brunette|chestnut) hair", "brunette"),
    "Bushy_Eyebrows": ("(?:bushy|thick|dense) (?:eye)?brows", "(?:eye)?brows are (?:bushy|thick|dense)"),
    "Chubby": ("chubby", "plump(?! lips)", "overweight"),
    "Double_Chin": ("double chin",),
    "Eyeglasses": ("(?:eye ?|sun ?)?glasses", "spectacles", "bespectacled"),
    "Goatee": ("goatee",),
    "Gray_Hair": ("gr[ae]y haired", "(?:gr[ae]y|graying|greying|white|silver) hair"),
    "Heavy_Makeup": ("(?:heavy |much |strong |thick |noticeable )?make ?up", "heavily made up"),
    "High_Cheekbones": ("(?:high|prominent|pronounced) cheek ?bones", "cheek ?bones are (?:high|prominent)"),
    "Male": ("male", "man", "boy", "gentleman"),
    "Mouth_Slightly_Open": ("mouth (?:is )?(?:slightly |a little |partly |partially )?open", "open mouth",
                            "(?:slightly |partly )?open(?:ed)? mouth"),
    "Mustache": ("mo?ustaches?", "mo?ustached"),
    "Narrow_Eyes": ("(?:narrow|narrowed|squinting) eyes", "eyes are narrow(?:ed)?"),
    "Oval_Face": ("oval (?:shaped )?face", "face is oval(?: shaped)?", "oval face shape"),
    "Pale_Skin": ("(?:pale|fair) (?:skin|complexion)", "skin is (?:pale|fair)", "pale"),
    "Pointy_Nose": ("(?:pointy|pointed|sharp) nose", "nose is (?:pointy|pointed|sharp)"),
    "Receding_Hairline": ("(?:receding|receded) hair ?line", "hair ?line (?:is )?reced(?:ing|ed)"),
    "Rosy_Cheeks": ("(?:rosy|red|flushed|pink) cheeks", "cheeks are (?:rosy|red|flushed|pink)"),
    "Sideburns": ("sideburns",),
    "Smiling": ("smil(?:ing|e|es)", "grin(?:s|ning)?"),
    "Straight_Hair": ("straight haired", "straight hair"),
    "Wavy_Hair": ("(?:wavy|curly) haired", "(?:wavy|curly) hair"),
    "Wearing_Earrings": ("ear ?rings?", "ear studs"),
    "Wearing_Hat": ("hats?", "(?:baseball )?caps?", "beanie", "headwear"),
    "Wearing_Lipstick": ("lipstick", "painted lips"),
    "Wearing_Necklace": ("necklaces?",),
    "Wearing_Necktie": ("(?:neck ?|bow ?)?ties?",),
    "Young": ("young", "youthful"),
}  # fmt: skip
"""CelebA name to its words, all forty but ``No_Beard``, which has its own rule: saying "no beard" affirms it."""

HAIR_WORDS: tuple[str, ...] = (
    "jet-black", "black", "brown", "brunette", "chestnut", "blonde?", "golden", "gr[ae]y", "graying", "greying",
    "white", "silver", "straight", "wavy", "curly",
)  # fmt: skip
"""Adjectives that may share one "hair"."""

FEMALE_WORDS: tuple[str, ...] = ("female", "woman", "girl", "lady")
"""Words that answer the question about ``Male`` without affirming it."""

BEARD_WORDS: tuple[str, ...] = ("beards?", "bearded", "facial hair")
BEARDLESS_WORDS: tuple[str, ...] = ("beardless", "(?:clean|smooth(?:ly)?) shaven", "clean shave")

MANIPULATION_WORDS: dict[str, tuple[str, ...]] = {
    "manipulated": (
        "manipulated", "manipulations?", "fake[ds]?", "forged", "forgery", "forging", "falsified", "deep ?fakes?",
        "edited", "edits?", "editing", "altered", "alterations?", "tampered", "tampering", "tamper", "swapped",
        "face swap", "swaps?", "doctored", "spliced", "splicing", "photoshopped", "retouched", "inauthentic",
        "unauthentic", "unreal", "artificial", "modified", "modifications?", "blended", "artefacts?", "artifacts?",
        "synthesi[sz]ed", "synthetic", "generated", "(?:ai|computer) generated", "face swapping",
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
