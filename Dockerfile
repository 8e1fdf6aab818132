# crosslens' server on CPUs, with the versions of the lock. docs/how-to/deploy.md says how to use it, and with a GPU.
FROM python:3.11-slim

WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY requirements requirements
COPY src src
# "--no-deps -r requirements/search.txt ." does without PyTorch, and serves what was indexed elsewhere.
ARG INSTALL="-c requirements/cpu.txt .[train,serve]"
RUN pip install --no-cache-dir ${INSTALL}

RUN useradd --create-home --uid 10001 crosslens && mkdir /cache && chown crosslens /cache
USER crosslens
WORKDIR /data
ENV CROSSLENS_CACHE=/cache
VOLUME ["/cache"]
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/ready', timeout=5)"]
ENTRYPOINT ["crosslens"]
CMD ["serve", "/data/photos.index", "--host", "0.0.0.0", "--api-key-file", "/data/keys.json", "--log-json"]
