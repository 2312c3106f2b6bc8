# syntax=docker/dockerfile:1
# The server as a container. It holds no Postgres: give it one by DATABASE_URL, as docker-compose.yml does.

FROM rust:1-bookworm AS builder
# What Whisper and Opus are built with.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay on the build machine: a second build compiles only what changed. Hence the copy out of the cached target.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p api \
    && cp target/release/crm /usr/local/bin/crm

FROM debian:bookworm-slim
# Certificates for TLS, and what Whisper's C++ runs on. Whichever version the base image's release has is the right one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin crm \
    && install -d -o crm -g crm -m 0700 /data
COPY --from=builder /usr/local/bin/crm /usr/local/bin/crm
# Inside a container only the published port decides who gets in, so the server listens on every address.
# Threads that wait for each other sleep: the reason stands in speech/src/threads.rs.
ENV OMP_WAIT_POLICY=passive \
    CRM_DATA_DIR=/data \
    API_HOST=0.0.0.0 \
    API_PORT=8000
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["crm", "health"]
ENTRYPOINT ["crm"]
CMD ["serve"]
