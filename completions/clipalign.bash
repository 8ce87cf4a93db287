# Completion of clipalign for bash; written by python -m clipalign.completion, not by hand.

_clipalign() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= place
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
        --show-completion)
            COMPREPLY=($(compgen -W 'bash zsh fish' -- "$current"))
            return ;;
        --mode)
            COMPREPLY=($(compgen -W 'threshold most-negative' -- "$current"))
            return ;;
        --epsilon|--layers|--template|--reference|--top|--batch-size|--threads|--seed|--limit)
            return ;;
        --format)
            COMPREPLY=($(compgen -W 'table json' -- "$current"))
            return ;;
        -m|--model)
            COMPREPLY=($(compgen -W 'ViT-B-32 ViT-B-16 ViT-L-14 ViT-L-14-336 ViT-H-14 longclip-B longclip-B-32 longclip-L specs specs-base pictogram' -- "$current"))
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A file -- "$current"))
            return ;;
        --device)
            COMPREPLY=($(compgen -W 'auto cpu cuda mps' -- "$current"))
            return ;;
        --precision)
            COMPREPLY=($(compgen -W 'auto fp32 bf16 fp16' -- "$current"))
            return ;;
        --cache-dir|--output)
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A directory -- "$current"))
            return ;;
        --dataset)
            COMPREPLY=($(compgen -W 'pictogram-foil' -- "$current"))
            return ;;
    esac
    case $command in
        detect)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W '--mode --epsilon --layers --template --reference --format --top --check --no-check --model --device --precision --batch-size --threads --seed --cache-dir --offline --no-offline --quiet --verbose --debug --help' -- "$current"))
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
            fi ;;
        eval)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W '--dataset --limit --output --mode --epsilon --layers --template --format --model --device --precision --batch-size --threads --seed --cache-dir --offline --no-offline --quiet --verbose --debug --help' -- "$current"))
            fi ;;
        *)
            COMPREPLY=($(compgen -W 'detect eval --version --show-completion --quiet --verbose --debug --help' -- "$current")) ;;
    esac
}

complete -F _clipalign clipalign
