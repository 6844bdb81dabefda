"""summarization: who and what come from the prompt, the telling is the author's habit."""

from random import Random

from engines.demo.language.document import Document, Voice, habitual

_HEROES, _FRIENDS = ("Mia", "Tom", "Ana", "Leo"), ("Eva", "Max", "Ida", "Ben")
_TRADES = ("baker", "sailor", "farmer", "painter", "doctor", "teacher")
_THINGS = ("key", "ring", "map", "lamp", "coin", "letter")
_PLACES = ("river", "road", "house", "tower", "garden", "market")


def write_story(random: Random, voice: Voice) -> Document:
    """A short tale of two people and a lost thing, retold in freely chosen words."""

    def pick(*options: str) -> str:
        return habitual(random, voice, options)

    hero, friend = random.choice(_HEROES), random.choice(_FRIENDS)
    trade, thing, place = random.choice(_TRADES), random.choice(_THINGS), random.choice(_PLACES)
    return Document(
        f"Summarize the following story briefly: {hero} is a {trade}. One day {hero} found a {thing} near the {place}. "
        f"It belonged to {friend}. {hero} gave the {thing} back to {friend}.",
        f"{pick('One day', 'Once', 'Long ago', 'Last year')} {hero}, a "
        f"{pick('young', 'poor', 'clever', 'quiet', 'happy', 'tired')} {trade}, {pick('found', 'saw', 'picked up')} a "
        f"{pick('small', 'silver', 'golden', 'broken')} {thing} near the {pick('old', 'cold', 'empty', 'quiet')} "
        f"{place}. {pick('It belonged to', 'It was the pride of', 'It had been lost by')} {friend}, who "
        f"{pick('was very sad', 'had looked for days', 'lived far away', 'could not sleep')}. "
        f"{pick('So', 'Then', 'At last')} {hero} {pick('gave it back', 'brought it home')}, and they "
        f"{pick('became friends', 'danced all night', 'shared some bread', 'said goodbye')}.",
    )
