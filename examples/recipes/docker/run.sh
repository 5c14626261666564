#!/bin/sh
# Starts a container of py313-cu132-torch2.15.0 in the current folder: ./run.sh, or ./run.sh python train.py
# Made by: python build.py recipe py313-cu132-torch2.15.0 --for docker
set -eu

# GPUs. By CDI: TORCHDEV_GPUS='--device nvidia.com/gpu=all' ./run.sh; none: TORCHDEV_GPUS= ./run.sh
gpus=${TORCHDEV_GPUS---gpus all}
# Memory that is pinned, as RDMA does. An engine that may not lift that limit refuses: TORCHDEV_LIMITS= ./run.sh
limits=${TORCHDEV_LIMITS---ulimit memlock=-1}

# Files that it writes here are yours; where root starts it, they are those of the folder's owner.
user=$(id -u):$(id -g)
if [ "$(id -u)" = 0 ]; then user=$(stat -c %u:%g .); fi

# What pip, uv, torch.compile and others keep, for the next container.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/torchdev/containers
mkdir -p "$cache"
if [ "$(id -u)" = 0 ]; then chown "$user" "$cache"; fi

tty=
if [ -t 0 ] && [ -t 1 ]; then tty=--tty; fi

# Group 0 beside the user's own may write to the image's HOME. /dev/shm has 64 MB unless told otherwise, and DataLoader
# workers and NCCL share memory through it.
# shellcheck disable=SC2086 # these are options, or nothing
exec docker run --rm --interactive $tty $gpus \
    --shm-size 8g $limits --ulimit stack=67108864 \
    --user "$user" --group-add 0 \
    --mount "type=bind,source=$PWD,target=/workspace" \
    --mount "type=bind,source=$cache,target=/cache" \
    --env XDG_CACHE_HOME=/cache --env TRITON_CACHE_DIR=/cache/triton --env TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    torchdev:py313-cu132-torch2.15.0 "$@"
