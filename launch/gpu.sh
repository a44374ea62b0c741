#!/usr/bin/env bash
# Measures what needs a GPU, one step after the other, and trains the miniatures of Tables 3 to 6:
#
#   launch/gpu.sh --minutes=10 [--out=gpu] [--data=FOLDER] [--seeds=3] [--steps=NAME,NAME] [--tiny]
#
# It ends within --minutes. Started again with the same --out, it goes on: steps that are done aren't
# repeated, and runs resume from their checkpoints. It needs no network. --data is a folder of images
# for the miniatures and the input, such as Caltech-101; the default is the embedded set. --steps
# takes some steps alone, by the names of their logs. --tiny takes sizes that a CPU can do, to try the
# script.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes= out=gpu data= seeds=1 steps= tiny=
for argument; do
    case $argument in
        --minutes=*) minutes=${argument#*=} ;;
        --out=*) out=${argument#*=} ;;
        --data=*) data=${argument#*=} ;;
        --seeds=*) seeds=${argument#*=} ;;
        --steps=*) steps=${argument#*=} ;;
        --tiny) tiny=yes ;;
        *) echo "Unknown argument $argument. See the top of launch/gpu.sh." >&2; exit 2 ;;
    esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "Give --minutes=N, a whole number." >&2; exit 2; }
[ -z "$data" ] || [ -d "$data/train" ] || { echo "There is no folder $data/train." >&2; exit 2; }
known=$(sed -nE 's/^ *(step|benchmark) ([a-z][a-z0-9_]*) .*/\2/p' launch/gpu.sh)
for name in ${steps//,/ }; do
    grep -qx "$name" <<< "$known" || {
        echo "There is no step $name. The steps are ${known//$'\n'/, }." >&2
        exit 2
    }
done
python=${PYTHON:-python3}
mkdir -p "$out/done"
end_s=$((SECONDS + 60 * minutes))

net=(--net=D) scale=384 images=512 epoch=40000 epochs=60 on_data=() on_photos=()
if [ -n "$tiny" ]; then
    net=(--net=A --width=0.03125 --crop_px=32 --rounds=1) scale=40 images=4 epoch=32 epochs=1
fi
[ -z "$data" ] || on_data=(--data="$data") on_photos=(--data="$data/train")

# Runs a step that isn't done: step NAME COMMAND... Its output goes to OUT/NAME.log too.
step() {
    local name=$1 left=$((end_s - SECONDS)) status=0
    shift
    [ ! -e "$out/done/$name" ] || return 0
    [[ -z $steps || ,$steps, == *,$name,* ]] || return 0
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
# Those for which the cores suffice are measured side by side, each on cores of its own.
workers() {
    local first=0 last running=() status=0
    for cores in 2 4 8 16; do
        [ "$cores" -le "$(nproc)" ] || break
        if [ $((first + cores)) -gt "$(nproc)" ]; then
            wait_for "${running[@]}" || status=1
            first=0 running=()
        fi
        last=$((first + cores - 1))
        taskset --cpu-list "$first-$last" "$python" -m launch.benchmark scan --data="$data/train" \
            --images=$((images * cores)) --workers="$cores" --rounds=1 \
            --out="$out/workers_$cores.json" > "$out/workers_$cores.txt" 2>&1 &
        running+=($!) first=$((last + 1))
    done
    wait_for "${running[@]}" || status=1
    cat "$out"/workers_*.txt
    return $status
}

# Waits for all of these processes, and fails if one of them does.
wait_for() {
    local process status=0
    for process; do wait "$process" || status=1; done
    return $status
}

tables() {
    "$python" -m launch.sweep --tables=3,4,5,6 --mini --seeds="$seeds" --tasks_per_gpu=3 \
        --root="$out/tables" "$@" \
        -- --config.num_epochs="$epochs" --config.plateau.patience_epochs=10
}

export -f quickstart deterministic profile workers wait_for tables
export out python data images seeds epochs tiny
failed=()

benchmark train train "${net[@]}"
benchmark layers train "${net[@]}" --layers --peer=none
benchmark forward train "${net[@]}" --pass=forward
benchmark eval eval --rounds=2 "${net[@]}" --dtype=bfloat16 --scale=$scale --images=$images
benchmark eval_float32 eval --rounds=1 "${net[@]}" --dtype=float32 --scale=$scale \
    --images=$((images / 4))
step memory "$python" -m vgg_jax.describe --net=D --batch=256
step quickstart_bfloat16 quickstart bfloat16
step quickstart_float32 quickstart float32
step deterministic deterministic
step profile profile
benchmark loop loop "${on_photos[@]}" --images=$epoch --rounds=2
if [ -n "$data" ]; then
    benchmark input input "${on_photos[@]}"
    step workers workers
else
    echo "Without --data, input and workers aren't measured."
fi
benchmark start start "${net[@]}"
step tables tables "${on_data[@]}"

if [ ${#failed[@]} -gt 0 ]; then
    echo "Failed: ${failed[*]}. The same command tries them again." >&2
    exit 1
fi
echo "All steps are done: see $out."
