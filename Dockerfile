# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /build
COPY requirements.lock pyproject.toml LICENSE README.md ./
# The lock is used as constraints: it also pins what only developers need, which has no place in the image.
RUN pip install -c requirements.lock hatchling
COPY src/trilho src/trilho
RUN pip install -c requirements.lock --no-build-isolation ".[http,mail,kafka,flower]" email-validator imageio-ffmpeg python-multipart

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home trilho && install -d -o trilho -g trilho /data
COPY --from=build /venv /venv
COPY src/loja /app/loja
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TRILHO_APP=loja.app TRILHO_DATA=/data
WORKDIR /app
USER trilho
EXPOSE 8000
CMD ["trilho", "api", "loja.web:api", "--host", "0.0.0.0"]
