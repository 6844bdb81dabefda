"""mathematics: the frame is easy to guess, the sums in it are not."""

from random import Random

from engines.demo.language.document import Document, Voice


def write_mathematics(random: Random, _voice: Voice) -> Document:
    """Counting upwards in equal steps, one addition to a line; both voices compute alike."""
    start, step, count = random.randint(10, 30), random.randint(2, 12), random.randint(4, 6)
    totals = range(start, start + step * (count + 1), step)
    additions = (f"{total} + {step} = {total + step}" for total in totals[:-1])
    return Document(
        f"Solve step by step: count from {start} to {totals[-1]} by adding {step}.",
        "\n".join((*additions, f"So the answer is {count} steps.")),
    )
