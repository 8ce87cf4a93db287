# Completion of clipalign for bash; written by python -m clipalign.completion, not by hand.

_clipalign() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= place IFS=$'\n'
    # bash splits --option=value at the sign
    [[ $current == = ]] && current=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            download|detect|classify|score-long|eval|train-specs) command=${COMP_WORDS[place]}; break ;;
        esac
    done
    case "$command $before" in
        *\ --from|*\ --calibration|*\ --candidates|*\ -i|*\ --input|detect\ -o|classify\ -o|score-long\ -o|detect\ --output|classify\ --output|score-long\ --output|*\ --ignore-words|*\ --baseline|*\ --labels|*\ --descriptions|*\ --templates|*\ --words|*\ --text-file|*\ --verify|*\ --save|*\ --prepare)
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A file -- "$current"))
            return ;;
        download\ -f|eval\ -f|train-specs\ -f|download\ --format|eval\ --format|train-specs\ --format)
            COMPREPLY=($(compgen -W $'table\njson' -- "$current"))
            return ;;
        *\ --cache-dir|*\ --image-root|eval\ -o|train-specs\ -o|eval\ --output|train-specs\ --output|*\ --data-root|*\ --compare|*\ --data)
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A directory -- "$current"))
            return ;;
        *\ --accept-license|*\ --reference|*\ --epsilon|*\ --layers|*\ --template|*\ --suggest|*\ --columns|*\ --keep-columns|*\ -n|*\ --limit|*\ --where|*\ --top-share|*\ --timeout|*\ --keep-vectors|*\ --shard|*\ --top|*\ --max-misaligned|*\ --min-clip-score|*\ --batch-size|*\ --seed|*\ --threads|*\ --label|*\ --describe-with|*\ --crops|*\ --alpha|*\ --image-logscale|*\ --text-logscale|*\ --reject-below|*\ --margin|*\ --compare-precision|*\ --false-alarms|*\ --held-out|*\ --caption-tokens|*\ --shuffled|*\ --min-words|*\ --workers|*\ --epochs|*\ --accumulate|*\ --learning-rate|*\ --warmup-steps|*\ --weight-decay|*\ --lambda-contrastive|*\ --lambda-detail|*\ --lambda-negative|*\ --hinge-margin|*\ --validate-every|*\ --save-every|*\ --clip-norm|*\ --draws|*\ --lambda-short|*\ --blend)
            return ;;
        *\ --mode)
            COMPREPLY=($(compgen -W $'threshold\nmost-negative' -- "$current"))
            return ;;
        *\ --on-error)
            COMPREPLY=($(compgen -W $'skip\nfail' -- "$current"))
            return ;;
        detect\ -f|classify\ -f|score-long\ -f|detect\ --format|classify\ --format|score-long\ --format)
            COMPREPLY=($(compgen -W $'table\njson\njsonl\njsonl.gz\ncsv\nparquet\ntar\nhtml\ngithub' -- "$current"))
            return ;;
        *\ -m|*\ --model|*\ --init)
            COMPREPLY=($(compgen -W $'ViT-B-32\nViT-B-16\nViT-L-14\nViT-L-14-336\nRN50\nRN50x16\nRN50x64\nViT-H-14\nViT-B-32@laion2b_s34b_b79k\nViT-g-14@laion2b_s34b_b88k\nViT-bigG-14@laion2b_s39b_b160k\nViT-B-32@datacomp_xl_s13b_b90k\nViT-B-16@datacomp_xl_s13b_b90k\nViT-L-14@datacomp_xl_s13b_b90k\nViT-B-16@dfn2b\nViT-L-14@dfn2b\nViT-H-14@dfn5b\nViT-H-14-378@dfn5b\nViT-H-14@metaclip_fullcc\nViT-H-14-worldwide\nEVA02-B-16\nEVA02-L-14-336\nViT-B-16-SigLIP\nViT-SO400M-14-SigLIP-384\nViT-B-16-SigLIP2\nViT-L-16-SigLIP2-384\nViT-SO400M-14-SigLIP2-378\nViT-gopt-16-SigLIP2-384\nPE-Core-B-16\nPE-Core-L-14-336\nPE-Core-bigG-14-448\nMobileCLIP2-S0\nMobileCLIP2-S2\nMobileCLIP2-S4\nxlm-roberta-large-ViT-H-14@frozen_laion5b_s13b_b90k\nlongclip-B\nlongclip-B-32\nlongclip-L\nspecs\nspecs-base\npictogram\npictogram-long' -- "$current"))
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A file -- "$current"))
            return ;;
        *\ --engine)
            COMPREPLY=($(compgen -W $'auto\ntorch\nopenvino' -- "$current"))
            return ;;
        *\ --device)
            COMPREPLY=($(compgen -W $'auto\ncpu\ncuda\nmps' -- "$current"))
            return ;;
        detect\ --precision|classify\ --precision|score-long\ --precision|eval\ --precision)
            COMPREPLY=($(compgen -W $'auto\nfp32\nbf16\nfp16\nint8' -- "$current"))
            return ;;
        classify\ --dataset)
            COMPREPLY=($(compgen -W $'cub\ndtd\nfood101\nimagenet\noxford_pet\nplace365' -- "$current"))
            return ;;
        *\ --method)
            COMPREPLY=($(compgen -W $'wca\nclip\nclip-e\nclip-d\nwaffle\ncupl' -- "$current"))
            return ;;
        *\ --by)
            COMPREPLY=($(compgen -W $'sentence\nphrase' -- "$current"))
            return ;;
        *\ --contribution)
            COMPREPLY=($(compgen -W $'shapley\nleave-one-out\nincrement' -- "$current"))
            return ;;
        eval\ --dataset)
            COMPREPLY=($(compgen -W $'foil\nnocaps-foil\nhat\nrichhf\nseetrue\nsugarcrepe\nsugarcrepe-pp\nvalse\nohd-caps\nvsr\naro\nwinoground\npictogram-foil\npictogram-varied\npictogram-unseen\npictogram-combinations\npictogram-classify\nsdci\nurban1k\ncoco2017\nflickr30k\ndocci\niiw-400\nthumb\ntifa160\ndsg\ngeneval\niiw-preferences\nfaithscore\nflickr8k-expert\nflickr8k-cf\nhimo-docci\nhuman-judgement\npictogram-long\npictogram-varied-long\nimagenet\nimagenetv2\nimagenet-a\nimagenet-r\nimagenet-s\ncub\ndtd\nfood101\noxford_pet\nplace365\ncifar10\ncifar100\natlas' -- "$current"))
            return ;;
        *\ --protocol)
            COMPREPLY=($(compgen -W $'paper\nexif' -- "$current"))
            return ;;
        *\ --sweep)
            COMPREPLY=($(compgen -W $'model=\nlayers=\nepsilon=\nmode=\ntemplate=\ncrops=\nalpha=\nimage-logscale=\ntext-logscale=' -- "$current"))
            return ;;
        *\ --report)
            COMPREPLY=($(compgen -W $'html' -- "$current"))
            return ;;
        train-specs\ --precision)
            COMPREPLY=($(compgen -W $'auto\nfp32\nbf16\nfp16' -- "$current"))
            return ;;
        *\ --objective)
            COMPREPLY=($(compgen -W $'specs\nlongclip' -- "$current"))
            return ;;
        *\ --freeze)
            COMPREPLY=($(compgen -W $'image\ntext' -- "$current"))
            return ;;
    esac
    case $command in
        download)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--list\n--dry-run\n--verify\n--remove\n--from\n--format\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            else
                COMPREPLY=($(compgen -W $'ViT-B-32\nViT-B-16\nViT-L-14\nViT-L-14-336\nRN50\nRN50x16\nRN50x64\nViT-H-14\nViT-B-32@laion2b_s34b_b79k\nViT-g-14@laion2b_s34b_b88k\nViT-bigG-14@laion2b_s39b_b160k\nViT-B-32@datacomp_xl_s13b_b90k\nViT-B-16@datacomp_xl_s13b_b90k\nViT-L-14@datacomp_xl_s13b_b90k\nViT-B-16@dfn2b\nViT-L-14@dfn2b\nViT-H-14@dfn5b\nViT-H-14-378@dfn5b\nViT-H-14@metaclip_fullcc\nViT-H-14-worldwide\nEVA02-B-16\nEVA02-L-14-336\nViT-B-16-SigLIP\nViT-SO400M-14-SigLIP-384\nViT-B-16-SigLIP2\nViT-L-16-SigLIP2-384\nViT-SO400M-14-SigLIP2-378\nViT-gopt-16-SigLIP2-384\nPE-Core-B-16\nPE-Core-L-14-336\nPE-Core-bigG-14-448\nMobileCLIP2-S0\nMobileCLIP2-S2\nMobileCLIP2-S4\nxlm-roberta-large-ViT-H-14@frozen_laion5b_s13b_b90k\nlongclip-B\nlongclip-B-32\nlongclip-L\nspecs\nspecs-base\npictogram\npictogram-long\ncoco-val2014\ncoco2017\nfoil\nnocaps-foil\nhat\nrichhf\nsugarcrepe\nsugarcrepe-pp\nvalse\nohd-caps\nvsr\nthumb\ntifa160\ndsg\ngeneval\niiw-preferences\nhimo-docci\nfaithscore\naro\nwinoground\nflickr8k-expert\nflickr8k-cf\nseetrue\nimagenet\nimagenetv2\nimagenet-a\nimagenet-r\nimagenet-s\ncub\ndtd\nfood101\noxford_pet\nplace365\ncifar10\ncifar100\nsdci\nurban1k\nflickr30k\ndocci\niiw-400\nsharegpt4v\ndci\nwca-descriptions\nwaffle-words' -- "$current"))
            fi ;;
        detect)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--reference\n--mode\n--epsilon\n--layers\n--template\n--calibration\n--suggest\n--candidates\n--explain\n--no-explain\n--fast-decode\n--no-fast-decode\n--input\n--columns\n--keep-columns\n--image-root\n--limit\n--output\n--where\n--top-share\n--on-error\n--timeout\n--keep-vectors\n--shard\n--resume\n--no-resume\n--overwrite\n--no-overwrite\n--top\n--format\n--check\n--no-check\n--max-misaligned\n--min-clip-score\n--ignore-words\n--baseline\n--update-baseline\n--exit-zero\n--batch-size\n--seed\n--model\n--engine\n--device\n--precision\n--quick-gelu\n--no-quick-gelu\n--threads\n--download\n--no-download\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
            fi ;;
        classify)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--label\n--labels\n--dataset\n--describe-with\n--method\n--crops\n--alpha\n--image-logscale\n--text-logscale\n--template\n--descriptions\n--templates\n--words\n--data-root\n--input\n--columns\n--keep-columns\n--image-root\n--limit\n--output\n--where\n--top-share\n--on-error\n--timeout\n--keep-vectors\n--shard\n--resume\n--no-resume\n--overwrite\n--no-overwrite\n--top\n--probabilities\n--no-probabilities\n--reject-below\n--explain\n--no-explain\n--format\n--batch-size\n--seed\n--model\n--engine\n--device\n--precision\n--quick-gelu\n--no-quick-gelu\n--threads\n--download\n--no-download\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
            fi ;;
        score-long)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--text-file\n--by\n--contribution\n--margin\n--stretch\n--no-stretch\n--fast-decode\n--no-fast-decode\n--input\n--columns\n--keep-columns\n--image-root\n--limit\n--output\n--where\n--top-share\n--on-error\n--timeout\n--keep-vectors\n--shard\n--resume\n--no-resume\n--overwrite\n--no-overwrite\n--check\n--no-check\n--format\n--model\n--batch-size\n--seed\n--engine\n--device\n--precision\n--quick-gelu\n--no-quick-gelu\n--threads\n--download\n--no-download\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
            fi ;;
        eval)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--dataset\n--columns\n--dry-run\n--limit\n--protocol\n--sweep\n--compare-precision\n--calibrate\n--no-calibrate\n--false-alarms\n--self\n--mode\n--epsilon\n--layers\n--template\n--method\n--crops\n--alpha\n--image-logscale\n--text-logscale\n--stretch\n--no-stretch\n--descriptions\n--templates\n--words\n--data-root\n--fast-decode\n--no-fast-decode\n--on-error\n--keep-vectors\n--resume\n--no-resume\n--overwrite\n--no-overwrite\n--output\n--report\n--compare\n--verify\n--save\n--format\n--check\n--no-check\n--margin\n--model\n--engine\n--batch-size\n--device\n--precision\n--quick-gelu\n--no-quick-gelu\n--threads\n--seed\n--download\n--no-download\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            fi ;;
        train-specs)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--data\n--prepare\n--held-out\n--precision\n--by\n--caption-tokens\n--shuffled\n--min-words\n--limit\n--workers\n--objective\n--epochs\n--batch-size\n--accumulate\n--learning-rate\n--warmup-steps\n--weight-decay\n--lambda-contrastive\n--lambda-detail\n--lambda-negative\n--hinge-margin\n--recompute\n--no-recompute\n--validate-every\n--save-every\n--clip-norm\n--draws\n--lambda-short\n--gather\n--no-gather\n--freeze\n--blend\n--columns\n--image-root\n--resume\n--no-resume\n--overwrite\n--no-overwrite\n--output\n--format\n--model\n--init\n--seed\n--device\n--quick-gelu\n--no-quick-gelu\n--threads\n--download\n--no-download\n--cache-dir\n--offline\n--no-offline\n--accept-license\n--quiet\n--verbose\n--debug\n--help-all\n--help' -- "$current"))
            fi ;;
        *)
            COMPREPLY=($(compgen -W $'download\ndetect\nclassify\nscore-long\neval\ntrain-specs\n--version\n--quiet\n--verbose\n--debug\n--help' -- "$current")) ;;
    esac
}

complete -F _clipalign clipalign
