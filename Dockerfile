# Both programs in one image: `waybill` is the entry point, `waybill-simulators` lies beside it. There is no shell in it.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --release --locked --bins \
    && mkdir /empty

# glibc, certificates, and a user who is nobody (65532).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/waybill /build/target/release/waybill-simulators /usr/local/bin/
COPY --from=build --chown=65532:65532 /empty /var/lib/waybill
COPY LICENSE /usr/share/doc/waybill/LICENSE
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# Of the API; a worker is asked at METRICS_ADDR.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["waybill", "health"]
ENTRYPOINT ["waybill"]
CMD ["--help"]
