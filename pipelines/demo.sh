#!/usr/bin/env bash
# The whole pipeline on a small synthetic data set: videos -> shards -> check -> training -> evaluation, and a control.
# `make demo` calls it from the root of the repository; BIN is the folder of the console scripts.
set -euo pipefail
BIN=${BIN:-.venv/bin}
RECIPE=pipelines/demo.yaml
OUT=demo_out
started=$SECONDS
rm -rf "$OUT"

echo "== 1. synthesise H.264 videos and a skeleton pickle in NTU RGB+D's layout"
"$BIN/epam-data" synth $RECIPE --out $OUT/raw
echo "== 2. build shards with 2 workers"
"$BIN/epam-data" build $RECIPE --out $OUT/shards --workers 2
echo "== 3. check them"
"$BIN/epam-data" check $RECIPE --shards $OUT/shards --report $OUT/report
echo "== 4. train EPAM-Net from the shards"
"$BIN/epam-model" train $RECIPE --shards $OUT/shards --out $OUT/run
echo "== 5. evaluate the best checkpoint"
"$BIN/epam-model" test $RECIPE --shards $OUT/shards --checkpoint $OUT/run/best.pt --json $OUT/measures.json
echo "== 6. control: shuffled training labels, pose stream only; must stay near chance (1/6)"
"$BIN/epam-model" train $RECIPE --shards $OUT/shards --out $OUT/control --model.streams pose --train.shuffle_labels --train.epochs 3 --report false
"$BIN/epam-model" test $RECIPE --shards $OUT/shards --checkpoint $OUT/control/last.pt --model.streams pose --json $OUT/control.json

cat <<END

shards      $OUT/shards
report      $OUT/report/index.html
checkpoint  $OUT/run/best.pt
measures    $OUT/measures.json   (control: $OUT/control.json)
training    $OUT/run/report.html
curves      $BIN/tensorboard --logdir $OUT/run
took        $((SECONDS - started)) s
END
"$BIN/python" - $OUT <<'END'
import json, sys
out = sys.argv[1]
run, control = (json.load(open(f"{out}/{name}.json")) for name in ("measures", "control"))
for name in ("top1_rgb", "top1_pose", "top1_fused"):
    print(f"{name:<20}{run[name]:7.1%}")
print(f"{'control (shuffled)':<20}{control['top1_pose']:7.1%}   chance {1 / 6:.1%}")
if run["top1_fused"] < 0.9:
    sys.exit("demo: fused top-1 is under 90 %: something is wrong")
END
