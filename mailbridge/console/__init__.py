"""The console: web pages that show faxes and what became of them, and forms for what people may do about them.

`routes` lists every address with who may use it. A request becomes a `Visit` (`visit`), and its handler is a small function in a
file for each page or action. Pages are templates with the words of `texts`; actions are those of `mailbridge.control`.
"""
