"""The API of the benchmark's application: Trilho's own routes, nothing else."""

import os

from fastapi import FastAPI

from bench.apps import Place, application
from trilho import Trilho
from trilho.http import install

app = application(Place.from_environment(os.environ))
assert isinstance(app, Trilho)
api = FastAPI(title="bench")
install(api, app)
