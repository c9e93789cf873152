# One image for every process of the service: `credit-es api`, `projector`, `worker`, `migrate`.
FROM python:3.11.15-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# The dependencies first: their layer stays as long as the lock does.
COPY requirements.lock requirements-prod.lock ./
RUN python -m venv /opt/credit-es \
    && /opt/credit-es/bin/pip install --require-hashes --no-deps -r requirements-prod.lock \
    && sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > build.lock \
    && pip install --require-hashes --no-deps -r build.lock

COPY pyproject.toml README.md ./
COPY credit_es credit_es
COPY projections projections
COPY api api
COPY workers workers
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/credit-es/bin/pip install --no-deps --no-index dist/*.whl \
    && /opt/credit-es/bin/pip uninstall --yes pip setuptools


FROM python:3.11.15-slim-bookworm

RUN groupadd --gid 10001 credit \
    && useradd --uid 10001 --gid credit --no-create-home --home-dir /nonexistent credit
COPY --from=build /opt/credit-es /opt/credit-es

ENV PATH=/opt/credit-es/bin:$PATH HOST=0.0.0.0 PORT=8000 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /opt/credit-es
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/live', timeout=2)"]

CMD ["credit-es", "api"]
