"""Colours and line styles of submissions: by place on the board, the same in every plot and in the report."""

# Twenty each, no two alike. The first four are Okabe and Ito's that have a contrast of at least 3 on white; the others
# were chosen one after another from a grid, each as far as possible from those before it (OKLab), contrast at least 3.
ON_WHITE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F3C8D", "#4D4D4D", "#0000AA", "#CC00FF", "#6600FF", "#990000"),
    *("#8877FF", "#DD0066", "#006600", "#660044", "#887700", "#FF33CC", "#6699BB", "#5500AA", "#995555", "#BB00AA"),
)
ON_BLACK = (
    *("#56B4E9", "#FF8A3D", "#2ECC9B", "#E79AC6", "#B98BE0", "#C8C8C8", "#666600", "#3344FF", "#CC0055", "#BBFF00"),
    *("#AA00DD", "#666699", "#FF22CC", "#22FFFF", "#999900", "#FFCC33", "#BB6633", "#009988", "#00DD00", "#0088FF"),
)
# Line styles change with every place, so that neighbours differ without colours as well. By matplotlib's names.
LINE_STYLES = ("-", "--", ":", "-.")
