# Completion of clipalign for bash; written by python -m clipalign.completion, not by hand.

_clipalign() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= place IFS=$'\n'
    # bash splits --option=value at the sign
    [[ $current == = ]] && current=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
            {{ names | join("|") }}) command=${COMP_WORDS[place]}; break ;;
        esac
    done
    case "$command $before" in
{% for (choices, files), patterns in cases.items() %}
        {{ patterns | join("|") }})
{% if choices %}
            COMPREPLY=($(compgen -W {{ choices | listed }} -- "$current"))
{% endif %}
{% if files %}
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -A {{ files }} -- "$current"))
{% endif %}
            return ;;
{% endfor %}
    esac
    case $command in
{% for branch in branches %}
        {{ branch.name }})
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W {{ branch.typed_flags | listed }} -- "$current"))
{% if branch.words %}
            else
                COMPREPLY=($(compgen -W {{ branch.words | listed }} -- "$current"))
{% endif %}
{% if branch.files %}
            else
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -A file -- "$current"))
{% endif %}
            fi ;;
{% endfor %}
        *)
            COMPREPLY=($(compgen -W {{ (names + root.typed_flags) | listed }} -- "$current")) ;;
    esac
}

complete -F _clipalign clipalign
