# Completion of clipalign for fish; written by python -m clipalign.completion, not by hand.

complete -c clipalign -f
{% set alone = "not __fish_seen_subcommand_from " ~ names | join(" ") %}
{% for branch in branches %}
complete -c clipalign -n '{{ alone }}' -a {{ branch.name }} -d '{{ branch.summary | fish_text }}'
{% endfor %}
{% for flag in root.flags %}
complete -c clipalign -n '{{ alone }}'{{ flag | fish_flag }}
{% endfor %}
{% for branch in branches %}
{% set inside = "__fish_seen_subcommand_from " ~ branch.name %}
{% if branch.files %}
complete -c clipalign -n '{{ inside }}' -F
{% endif %}
{% if branch.words %}
complete -c clipalign -n '{{ inside }}' -a '{{ branch.words | join(" ") }}'
{% endif %}
{% for flag in branch.flags %}
complete -c clipalign -n '{{ inside }}'{{ flag | fish_flag }}
{% endfor %}
{% endfor %}
