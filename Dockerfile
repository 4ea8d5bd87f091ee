# Builder: the locked dependencies and the project in /opt/venv. The base image's pip installs into
# it, so that the venv holds none, and setuptools leaves it once the project is built.
FROM python:3.13-slim AS builder
ENV PIP_PYTHON=/opt/venv/bin/python PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
WORKDIR /src
COPY requirements.lock .
RUN pip install --quiet --require-hashes -r requirements.lock
COPY . .
RUN pip install --quiet --no-deps --no-build-isolation . \
    && pip uninstall --quiet --yes setuptools
# Kernels for the processor that builds; on another kind they are compiled at the first start.
RUN cd / && GRADFLOCK_CACHE_DIR=/opt/gradflock /opt/venv/bin/gradflock compile

FROM python:3.13-slim
# Nothing at run time installs anything, so nothing that could is left.
RUN python -c 'import ensurepip, pathlib, pip, shutil; \
    [shutil.rmtree(pathlib.Path(module.__file__).parent) for module in (pip, ensurepip)]' \
    && rm -rf /usr/bin/pip* /usr/local/bin/pip*
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/gradflock /opt/gradflock
# A volume that is made anew takes owner and mode from here.
RUN install -d -o 10001 -g 10001 /runs /cache && install -d -m 700 -o 10001 -g 10001 /keys /worker
# One BLAS thread per process: workers are the parallelism.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 \
    GRADFLOCK_KERNELS=/opt/gradflock/kernels GRADFLOCK_CACHE_DIR=/tmp/gradflock
USER 10001:10001
WORKDIR /runs
ENTRYPOINT ["gradflock"]
