# UNTESTED where this repository is tested: there is no Docker there. Written with care, run by nobody yet; please report.
#
#   docker build -t juxta .
#   docker run --rm juxta python run.py --help
FROM python:3.12-slim

WORKDIR /juxta
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY run.py ./
COPY config config
COPY app app
COPY examples examples

RUN useradd --system --no-create-home juxta && mkdir /data && chown juxta /data
USER juxta
VOLUME /data
ENV JUXTA_DATA=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
EXPOSE 8000
# exec form: SIGTERM reaches Python, which gives back what runs and leaves the bus
CMD ["python", "run.py"]
