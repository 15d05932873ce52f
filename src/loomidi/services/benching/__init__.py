"""Public data sets as cases with a known answer, and how well they are answered.

Called by `loomidi bench` and by the scripts of bench/. In: a folder of data that somebody fetched; none comes with the
package. Out: scores with the chance level beside them, by kind and by group.
"""
