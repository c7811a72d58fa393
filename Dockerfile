# The command line in a container. Three images, by what is asked for:
#   docker build -t rmtscale .                                      predicts and reports, no torch
#   docker build --build-arg EXTRAS=measure -t rmtscale:cuda .      runs models; torch brings CUDA
#   docker build --build-arg EXTRAS=measure --build-arg TORCH_INDEX=URL -t rmtscale:cpu .
#       the same with torch from the index of its CPU builds, which PyTorch's page on installing names
# Use:
#   docker run --rm rmtscale estimate -m llama-3.2-1b -d rtx-4090 --tokens 32k --mode train
#   docker run --rm --gpus all -v "$PWD/build:/data/build" rmtscale:cuda calibrate --measure --out build/gpu.json
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG EXTRAS=""
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=""

COPY . /source
RUN set -eu; \
    pip="python -m pip install --no-cache-dir --quiet -c /source/constraints.txt"; \
    if [ -n "$TORCH_INDEX" ]; then $pip --index-url "$TORCH_INDEX" "$TORCH"; fi; \
    $pip "/source${EXTRAS:+[$EXTRAS]}"; \
    rm -rf /source; \
    useradd --create-home --uid 1000 user; \
    mkdir /data; \
    chown user /data

USER user
WORKDIR /data
ENTRYPOINT ["rmtscale"]
CMD ["--help"]
