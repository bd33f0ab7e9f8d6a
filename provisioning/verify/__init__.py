"""leadglass-verify: what an outsider can prove of our evidence without us, our keys or our servers."""
