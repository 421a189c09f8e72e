#compdef fixedram

_fixedram_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _FIXEDRAM_COMPLETE=complete_zsh fixedram)
}

compdef _fixedram_completion fixedram
