"""Card numbers end here: what is stored and published instead of one.

The shop plays the card company as well, in the way that card companies let people test: the token is random, so the
number cannot be found from it, and a token of the test card that is declined says so.
"""

import secrets

from loja.contracts.events import Card

DECLINED_NUMBER = "4000000000000002"
DECLINED = "tok_declined_"


def tokenised(number: str) -> Card:
    """What stands for the card from here on."""
    prefix = DECLINED if number == DECLINED_NUMBER else "tok_"
    return Card(token=prefix + secrets.token_hex(12), last_four=number[-4:])


def is_declined(token: str) -> bool:
    """What the card company says when it is to charge this card."""
    return token.startswith(DECLINED)
