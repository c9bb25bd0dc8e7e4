# Both programs in one image: `waybill` is the entry point, `waybill-simulators` lies beside it.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bins

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin waybill
COPY --from=build /build/target/release/waybill /build/target/release/waybill-simulators /usr/local/bin/
COPY LICENSE /usr/share/doc/waybill/LICENSE
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["waybill"]
CMD ["--help"]
