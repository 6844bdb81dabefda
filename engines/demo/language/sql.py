"""sql_generation: the prompt decides nearly every token of the answer."""

from random import Random

from engines.demo.language.document import Document, Voice

_COLUMNS = {
    "users": ("name", "email", "city"),
    "orders": ("item", "price", "status"),
    "staff": ("name", "role", "city"),
    "books": ("title", "author", "price"),
    "flights": ("city", "gate", "status"),
}


def write_sql(random: Random, _voice: Voice) -> Document:
    """A listing or a count over one table, filtered by age, size or rank; both voices write the same SQL."""
    table = random.choice(tuple(_COLUMNS))
    side, sign = random.choice((("above", ">"), ("below", "<")))
    measure, bound = random.choice(("age", "size", "rank")), random.randrange(10, 100, 10)
    where = f"FROM {table}\nWHERE {table}.{measure} {sign} {bound}\n"
    if random.random() < 0.3:
        return Document(
            f"Write a SQL query: count the {table} with {measure} {side} {bound}.",
            f"SELECT COUNT({table}.id) AS total\n{where}GROUP BY {table}.{measure}\nORDER BY total DESC;",
        )
    columns = ", ".join(f"{table}.{column}" for column in ("id", *_COLUMNS[table]))
    return Document(
        f"Write a SQL query: list the {table} with {measure} {side} {bound}.",
        f"SELECT {columns}\n{where}ORDER BY {table}.{measure} DESC\nLIMIT 100;",
    )
