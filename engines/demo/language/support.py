"""customer_support: polite phrases of which several would do."""

from random import Random

from engines.demo.language.document import Document, Voice, habitual

_COLOURS = ("red", "blue", "black", "white", "green", "old")
_GOODS = ("phone", "lamp", "laptop", "jacket", "watch", "table")
_TROUBLES = {
    "is broken": ("send you a new one", "repair it for free", "replace it today"),
    "came late": ("refund the delivery", "send you a gift card", "speak to the driver"),
    "is too small": ("send you a bigger one", "refund the full price", "change the size"),
    "never came": ("look for the parcel", "refund the full price", "send you a new one"),
}


def write_support(random: Random, voice: Voice) -> Document:
    """A complaint about one article and a reply that apologises, offers and closes."""

    def pick(*options: str) -> str:
        return habitual(random, voice, options)

    article, trouble = f"{random.choice(_COLOURS)} {random.choice(_GOODS)}", random.choice(tuple(_TROUBLES))
    return Document(
        f"Customer support: my {article} {trouble}. Please help me.",
        f"{pick('Hello', 'Dear customer', 'Thank you for your message', 'Good day')}! "
        f"{pick('We are sorry', 'I am sorry', 'Please excuse us', 'We regret')} that your {article} {trouble}. "
        f"{pick('We will', 'I can', 'Our team will', 'We would like to')} {pick(*_TROUBLES[trouble])} "
        f"{pick('this week', 'tomorrow', 'at once', 'by Friday')}. "
        f"{pick('Please tell us your order number', 'Please keep the box', 'You need to do nothing')}. "
        f"{pick('Is there anything else?', 'Have a nice day.', 'Kind regards, your team.')}",
    )
