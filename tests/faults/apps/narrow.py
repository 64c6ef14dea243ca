"""An older release of the application, which knows one task only."""

from tests.faults.apps.bodies import noop
from tests.lab.ready import announce
from trilho import Trilho

announce()
app = Trilho("lab")
app.task(name="lab.noop")(noop)
