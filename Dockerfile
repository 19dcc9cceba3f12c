# The service in a container: nothing but the base package, no torch, no shell needed, not root.
#   docker build -t clearsight .
#   docker run --rm -p 127.0.0.1:8000:8000 -v ./models:/models:ro clearsight serve /models/trees --host 0.0.0.0
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/clearsight \
    && /opt/clearsight/bin/pip install --no-cache-dir -c constraints.txt ".[grpc,tracing]"

FROM python:3.12-slim
COPY --from=build /opt/clearsight /opt/clearsight
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin clearsight \
    && install -d -o clearsight -g clearsight -m 0700 /state
ENV PATH=/opt/clearsight/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CLEARSIGHT_STORE=/state \
    XDG_CACHE_HOME=/state/cache \
    CLEARSIGHT_LOG=info
USER 10001:10001
WORKDIR /state
VOLUME ["/state"]
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["clearsight"]
CMD ["serve", "--host", "0.0.0.0"]
