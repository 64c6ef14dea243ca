"""What the sales jobs answer with, as JSON."""

from decimal import Decimal
from typing import Any

from loja.sales.datasets import Answer, Source
from loja.sales.summary import Summary
from loja.sales.totals import Group

TOP = 5

_CENT = Decimal("0.01")


def money(amount: Decimal) -> float:
    """The amount in whole cents; a JSON number holds them exactly up to ninety trillion."""
    return float(amount.quantize(_CENT))


def mean_ticket(group: Group) -> float | None:
    """Money per sale; None where nothing was sold."""
    return money(group.amount / group.sales) if group.sales else None


def of_group(group: Group) -> dict[str, Any]:
    """Number of sales, pieces and money."""
    return {"sales": group.sales, "quantity": group.quantity, "total": money(group.amount)}


def of_file(source: Source, summary: Summary, stored: bool) -> dict[str, Any]:
    """The answer of process_csv; the stored sums per product, region and month are finer than it."""
    totals, overall = summary.totals, summary.totals.overall()
    return {
        "filename": source.name,
        "origin": source.origin,
        "stored": stored,
        "delimiter": summary.delimiter,
        "encoding": summary.encoding,
        "rows": summary.rows,
        "accepted": summary.accepted,
        "rejected": {
            "count": summary.rejects.count,
            "reasons": dict(summary.rejects.reasons.most_common()),
            "examples": [reject._asdict() for reject in summary.rejects.examples],
        },
        "quantity": overall.quantity,
        "total": money(overall.amount),
        "mean_ticket": mean_ticket(overall),
        "by_region": {name: of_group(group) for name, group in totals.by_region().items()},
        "by_month": {name: of_group(group) for name, group in totals.by_month().items()},
        "top_products": _top(totals.by_product()),
    }


def of_aggregate(region: str, month: str, answer: Answer) -> dict[str, Any]:
    """The answer of aggregate."""
    overall = answer.overall
    return {
        "region": region,
        "month": month,
        "files": answer.files,
        "count": overall.sales,
        "quantity": overall.quantity,
        "total": money(overall.amount),
        "mean_ticket": mean_ticket(overall),
        "top_products": _top(answer.products),
    }


def _top(products: dict[str, Group]) -> list[dict[str, Any]]:
    return [{"product": name, **of_group(group)} for name, group in list(products.items())[:TOP]]
