#!/bin/sh
# Installs the project in the present folder with its extras $EXTRAS, for $ACCELERATOR: cpu or cuda.
set -eu

case "$ACCELERATOR" in
  cpu)
    # PyTorch's wheels on PyPI are those for CUDA; pip prefers 2.x.y+cpu from here to 2.x.y.
    case ",$EXTRAS," in
      *,all,* | *,torch,*) set -- --extra-index-url https://download.pytorch.org/whl/cpu ;;
      *) set -- ;;
    esac
    ;;
  cuda)
    case ",$EXTRAS," in
      *,all,* | *,jax,*) set -- "jax[$JAX_CUDA]" ;;
      *) set -- ;;
    esac
    ;;
  *)
    echo "ACCELERATOR must be cpu or cuda, got '$ACCELERATOR'" >&2
    exit 1
    ;;
esac

pip install --no-cache-dir --constraint constraints.txt --editable ".[$EXTRAS]" "$@"
