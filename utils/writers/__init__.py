"""What Crossfold writes: skims, friend trees and tables, each whole or not at all."""
