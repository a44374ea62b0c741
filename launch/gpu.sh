#!/usr/bin/env bash
# Measures what needs a GPU, one step after the other, and trains the miniatures of Tables 3 to 6:
#
#   launch/gpu.sh --minutes=10 [--out=gpu] [--data=FOLDER] [--seeds=3] [--tiny]
#
# It ends within --minutes. Started again with the same --out, it goes on: steps that are done aren't
# repeated, and runs resume from their checkpoints. It needs no network. --data is a folder of images
# for the miniatures and the input, such as Caltech-101; the default is the embedded set. --tiny takes
# sizes that a CPU can do, to try the script.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes= out=gpu data= seeds=1 tiny=
for argument; do
    case $argument in
        --minutes=*) minutes=${argument#*=} ;;
        --out=*) out=${argument#*=} ;;
        --data=*) data=${argument#*=} ;;
        --seeds=*) seeds=${argument#*=} ;;
        --tiny) tiny=yes ;;
        *) echo "Unknown argument $argument. See the top of launch/gpu.sh." >&2; exit 2 ;;
    esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "Give --minutes=N, a whole number." >&2; exit 2; }
[ -z "$data" ] || [ -d "$data/train" ] || { echo "There is no folder $data/train." >&2; exit 2; }
python=${PYTHON:-python3}
mkdir -p "$out/done"
end_s=$((SECONDS + 60 * minutes))

net=(--net=D) scale=384 images=1024 epochs=60 on_data=()
if [ -n "$tiny" ]; then
    net=(--net=A --width=0.03125 --crop_px=32 --rounds=1) scale=40 images=4 epochs=1
fi
[ -z "$data" ] || on_data=(--data="$data")

# Runs a step that isn't done: step NAME COMMAND... Its output goes to OUT/NAME.log too.
step() {
    local name=$1 left=$((end_s - SECONDS)) status=0
    shift
    [ ! -e "$out/done/$name" ] || return 0
    if [ "$left" -lt 20 ]; then
        echo "The time is over before $name. The same command goes on."
        exit 0
    fi
    echo "== $name, $left s left"
    # Runs save and end on SIGTERM, which takes a few seconds.
    timeout --kill-after=10 $((left - 15)) bash -euo pipefail -c '"$@"' bash "$@" 2>&1 \
        | tee -a "$out/$name.log" || status=$?
    if [ $status -eq 0 ]; then
        touch "$out/done/$name"
    elif [ $((end_s - SECONDS)) -lt 20 ]; then
        echo "The time is over during $name. The same command goes on."
        exit 0
    else
        echo "$name failed with status $status: see $out/$name.log" >&2
        failed+=("$name")
    fi
}

benchmark() {
    local name=$1
    shift
    step "$name" "$python" -m launch.benchmark "$@" --out="$out/$name.json"
}

quickstart() { # dtype
    "$python" -m vgg_jax.main --config=configs/quickstart.py --config.dtype="$1" \
        --workdir="$out/runs/quickstart_$1" ${tiny:+--config.num_epochs=1}
}

# A run that is killed and resumed must equal, to the bit, one that wasn't.
deterministic() {
    local command=("$python" -m vgg_jax.main --config=configs/quickstart.py
        --config.dtype=bfloat16 --config.deterministic=true --config.eval.method=none
        --config.num_epochs=2 --config.checkpoint_every_steps=20)
    "${command[@]}" --workdir="$out/runs/whole"
    if [ ! -e "$out/runs/killed" ]; then
        "${command[@]}" --workdir="$out/runs/killed" &
        until [ -e "$out/runs/killed/checkpoints/40" ] || ! kill -0 $!; do sleep 0.1; done
        kill -KILL $! # It fails, and so does this step, if the run has ended.
    fi
    "${command[@]}" --workdir="$out/runs/killed"
    "$python" - "$out/runs/whole" "$out/runs/killed" <<'PYTHON'
import sys

import vgg_jax

whole, killed = (vgg_jax.load(workdir).digest() for workdir in sys.argv[1:])
print(f"whole {whole}\nkilled and resumed {killed}\nequal: {whole == killed}")
sys.exit(whole != killed)
PYTHON
}

profile() {
    "$python" -m vgg_jax.main --config=configs/quickstart.py --config.dtype=bfloat16 --profile \
        --config.num_epochs=1 --config.eval.method=none --workdir="$out/runs/profiled"
}

# How many worker processes pay, by the cores that a command may use: see vgg_jax/data/workers.py.
workers() {
    for cores in 2 4 8 16; do
        [ "$cores" -gt "$(nproc)" ] || taskset --cpu-list "0-$((cores - 1))" \
            "$python" -m launch.benchmark scan --data="$data/train" --images="$images" \
            --workers="$cores" --rounds=1 --out="$out/workers_$cores.json"
    done
}

tables() {
    "$python" -m launch.sweep --tables=3,4,5,6 --mini --seeds="$seeds" --tasks_per_gpu=6 \
        --root="$out/tables" "$@" \
        -- --config.num_epochs="$epochs" --config.plateau.patience_epochs=10
}

export -f quickstart deterministic profile workers tables
export out python data images seeds epochs tiny
failed=()

benchmark train train "${net[@]}"
benchmark layers train "${net[@]}" --layers --peer=none
benchmark forward train "${net[@]}" --pass=forward
benchmark eval eval "${net[@]}" --dtype=bfloat16 --scale=$scale --images=$images
step memory "$python" -m vgg_jax.describe --net=D --batch=256
step quickstart_bfloat16 quickstart bfloat16
step quickstart_float32 quickstart float32
step deterministic deterministic
step profile profile
benchmark loop loop "${on_data[@]}"
if [ -n "$data" ]; then
    benchmark input input "${on_data[@]}"
    step workers workers
fi
benchmark start start "${net[@]}"
step tables tables "${on_data[@]}"

if [ ${#failed[@]} -gt 0 ]; then
    echo "Failed: ${failed[*]}. The same command tries them again." >&2
    exit 1
fi
echo "All steps are done: see $out."
