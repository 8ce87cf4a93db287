# Completion of clipalign for bash; written by python -m clipalign.completion, not by hand.

_clipalign() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= place IFS=$'\n'
    # bash splits --option=value at the sign
    [[ $current == = ]] && current=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            detect|eval) command=${COMP_WORDS[place]}; break ;;
        esac
    done
    case $before in
        --mode)
            COMPREPLY=($(compgen -W $'threshold\nmost-negative' -- "$current"))
            return ;;
        --epsilon|--layers|--template|--reference|--top|--batch-size|--threads|--seed|--limit)
            return ;;
        --alignment)
            COMPREPLY=($(compgen -W $'published\ncharacters' -- "$current"))
            return ;;
        --format)
            COMPREPLY=($(compgen -W $'table\njson' -- "$current"))
            return ;;
        -m|--model)
            COMPREPLY=($(compgen -W $'ViT-B-32\nViT-B-16\nViT-L-14\nViT-L-14-336\nViT-H-14\nlongclip-B\nlongclip-B-32\nlongclip-L\nspecs\nspecs-base\npictogram' -- "$current"))
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A file -- "$current"))
            return ;;
        --device)
            COMPREPLY=($(compgen -W $'auto\ncpu\ncuda\nmps' -- "$current"))
            return ;;
        --precision)
            COMPREPLY=($(compgen -W $'auto\nfp32\nbf16\nfp16' -- "$current"))
            return ;;
        --cache-dir|--output)
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A directory -- "$current"))
            return ;;
        --dataset)
            COMPREPLY=($(compgen -W $'pictogram-foil' -- "$current"))
            return ;;
    esac
    case $command in
        detect)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--mode\n--epsilon\n--layers\n--template\n--alignment\n--reference\n--format\n--top\n--check\n--no-check\n--model\n--device\n--precision\n--batch-size\n--threads\n--seed\n--cache-dir\n--offline\n--no-offline\n--quiet\n--verbose\n--debug\n--help' -- "$current"))
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
            fi ;;
        eval)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W $'--dataset\n--limit\n--output\n--mode\n--epsilon\n--layers\n--template\n--alignment\n--format\n--model\n--device\n--precision\n--batch-size\n--threads\n--seed\n--cache-dir\n--offline\n--no-offline\n--quiet\n--verbose\n--debug\n--help' -- "$current"))
            fi ;;
        *)
            COMPREPLY=($(compgen -W $'detect\neval\n--version\n--quiet\n--verbose\n--debug\n--help' -- "$current")) ;;
    esac
}

complete -F _clipalign clipalign
