#compdef clipalign
# Completion of clipalign for zsh; written by python -m clipalign.completion, not by hand.

{% for function, choices in files_or_names.items() %}
{{ function }}() {
    _alternative 'names:name:({{ choices | join(" ") }})' 'files:file:_files'
}

{% endfor %}
{% for branch in branches %}
_clipalign_{{ branch.name.replace("-", "_") }}() {
    _arguments -s \
        {{ branch | zsh_specs | join(" \\\n        ") }}
}

{% endfor %}
_clipalign() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -s -C \
        {{ root | zsh_specs | join(" \\\n        ") }} \
        '1: :->command' \
        '*:: :->rest'
    case $state in
        command)
            local -a commands=(
{% for branch in branches %}
                '{{ branch.name }}:{{ branch.summary | zsh_text }}'
{% endfor %}
            )
            _describe command commands ;;
        rest)
            case $words[1] in
{% for branch in branches %}
                {{ branch.name }}) _clipalign_{{ branch.name.replace("-", "_") }} ;;
{% endfor %}
            esac ;;
    esac
}

# autoloaded from fpath the file is the function; sourced it has to be registered
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _clipalign "$@"
else
    compdef _clipalign clipalign
fi
