# docker build -t apt-lightning . && docker run --rm -v "$PWD:/work" apt-lightning demo
FROM python:3.13-slim
COPY pyproject.toml README.md LICENSE /src/
COPY configs /src/configs
COPY apt_lightning /src/apt_lightning
RUN pip install --no-cache-dir '/src[synthetic,sweep,tensorboard]' && rm -rf /src
WORKDIR /work
ENV HOME=/tmp
ENTRYPOINT ["apt-lightning"]
CMD ["--help"]
