"""What a body may do to the transaction that it was given."""

from trilho import Tx


def end_inside(tx: Tx, how: str) -> None:
    """End it before its block does: through the `session`, the `driver`, or by a statement such as ROLLBACK."""
    if how == "session":
        tx.session.rollback()
    elif how == "driver":
        tx.connection.rollback()
    else:
        tx.connection.execute(how.encode())
