"""Sales files made up for trying things out: the same name and number of rows give the same bytes."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

from loja.sales.reader import COLUMNS
from loja.sales.sale import Region

YEAR = 2025
MALFORMED_SHARE = 0.005
BATCH = 1000

PRODUCTS = (
    ("Açúcar 1 kg", 4),
    ("Arroz 5 kg", 28),
    ("Bicicleta", 1190),
    ("Café 500 g", 19),
    ("Caderno", 12),
    ("Cadeira", 249),
    ("Camiseta", 49),
    ("Celular", 1899),
    ("Feijão 1 kg", 9),
    ("Fone de ouvido", 129),
    ("Geladeira", 2799),
    ("Livro", 45),
    ("Mochila", 159),
    ("Notebook", 3999),
    ("Panela", 89),
    ("Sapato", 199),
    ("Televisor", 2199),
    ("Tênis", 299),
    ("Ventilador", 179),
    ("Violão", 690),
)
_REGION_WEIGHTS = {Region.NORTE: 8, Region.NORDESTE: 22, Region.CENTRO_OESTE: 12, Region.SUDESTE: 42, Region.SUL: 16}
_DAYS = tuple((date(YEAR, 1, 1) + timedelta(days=n)).isoformat() for n in range(365))

_MALFORMED = (
    f"{YEAR}-02-30,sul,Caderno,1,12.00\n",
    "31.12,norte,Livro,2,45.00\n",
    f"{YEAR}-05-04,atlantida,Livro,2,45.00\n",
    f"{YEAR}-06-05,sudeste,,1,19.90\n",
    f"{YEAR}-07-06,sudeste,Caderno,-3,12.00\n",
    f"{YEAR}-08-07,nordeste,Panela,one,89.00\n",
    f"{YEAR}-09-08,sul,Mochila,1,free\n",
    f"{YEAR}-10-09,norte,Camiseta,2,-49.00\n",
    f"{YEAR}-11-10,norte,Camiseta\n",
)


def batches(name: str, num_rows: int) -> Iterator[tuple[int, str]]:
    """The text of the file in pieces of at most 1,000 rows, each with the number of rows written after it."""
    rng = random.Random(f"{name}/{num_rows}")  # noqa: S311 - not a secret
    yield 0, ",".join(COLUMNS) + "\n"
    for start in range(0, num_rows, BATCH):
        count = min(BATCH, num_rows - start)
        yield start + count, "".join(_rows(rng, count))


def _rows(rng: random.Random, count: int) -> Iterator[str]:
    days = rng.choices(_DAYS, k=count)
    regions = rng.choices(tuple(_REGION_WEIGHTS), tuple(_REGION_WEIGHTS.values()), k=count)
    products = rng.choices(PRODUCTS, k=count)
    quantities = rng.choices((1, 2, 3, 4, 5, 10), (60, 20, 8, 5, 5, 2), k=count)
    for day, region, (product, price), quantity in zip(days, regions, products, quantities, strict=True):
        if rng.random() < MALFORMED_SHARE:
            yield rng.choice(_MALFORMED)
            continue
        cents = price * rng.randrange(90, 111)
        yield f"{day},{region},{product},{quantity},{cents // 100}.{cents % 100:02}\n"
